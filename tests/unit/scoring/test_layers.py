"""Layer by layer, a source agrees with the target as its gradient does."""

from dataclasses import replace

import numpy as np
import pytest

from sgg_ray.errors import TrainingError
from sgg_ray.models import build_model
from sgg_ray.scoring import LayerComparison
from sgg_ray.scoring.class_contrasts import backbone_contrasts, balanced_parts
from sgg_ray.scoring.layer_split import layer_of
from sgg_ray.tasks import load_tasks


@pytest.fixture
def compared(make_config):
    """Model, comparison, target and sources (one clean, one flipped) of the toy configuration."""
    config = make_config()
    target, sources = load_tasks(config)
    model = build_model(config, [target])
    return model, LayerComparison(model, config.seed), target, sources


def test_a_flipped_source_points_the_other_way_in_every_layer(compared):
    _, comparison, target, (clean, _) = compared
    flipped = replace(clean, train=replace(clean.train, labels=1 - clean.train.labels))
    gradients = comparison.target(target, target.labels)
    right, wrong = comparison.source(clean, gradients), comparison.source(flipped, gradients)
    assert list(right) == ["embeddings", "0", "1"]
    assert {layer: -cosine for layer, cosine in wrong.items()} == pytest.approx(right, abs=1e-4)
    assert right["1"] > 0.3


def test_a_task_agrees_with_itself_fully(compared):
    _, comparison, target, _ = compared
    for labels in (target.labels, ()):
        found = comparison.source(target, comparison.target(target, labels))
        assert list(found.values()) == pytest.approx([1.0] * 3, abs=1e-4)


def test_layers_add_up_to_the_whole_gradient(compared):
    model, _, target, _ = compared
    rows, labels = np.arange(len(target.train)), target.train.labels
    (gradient,) = backbone_contrasts(
        model, model.tokenise(target, target.train), rows, labels, 2, balanced_parts(rows, labels, 1), 32
    )
    pieces = [own.whole() for own in gradient.by_layer().values()]
    assert sum(map(len, pieces)) == gradient.dimension
    squares = sum(float(piece.square().sum()) for piece in pieces)
    assert squares == pytest.approx(float(gradient.whole().square().sum()), rel=1e-5)


def test_one_class_is_an_error(compared):
    _, comparison, target, (clean, _) = compared
    alone = clean.train.take(np.flatnonzero(clean.train.labels == 0))
    with pytest.raises(TrainingError, match="one class only"):
        comparison.source(replace(clean, train=alone), comparison.target(target, target.labels))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("embeddings.word_embeddings.weight", "embeddings"),
        ("encoder.layer.11.attention.self.query.weight", "11"),
        ("base_model.model.model.layers.3.self_attn.q_proj.lora_A.default.weight", "3"),
        ("transformer.wte.weight", "embeddings"),
        ("transformer.h.0.mlp.c_fc.weight", "0"),
        ("model.norm.weight", "other"),
    ],
)
def test_layers_are_found_by_name(name, layer):
    assert layer_of(name) == layer
