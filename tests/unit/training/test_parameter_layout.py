"""Which parameters guidance compares, and which learning rate and decay they get."""

import pytest
import torch

from sgg_ray.errors import ModelError
from sgg_ray.models import build_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training.parameter_layout import build_optimiser, lay_out


@pytest.fixture
def model_and_heads(make_config, data):
    """A model with the target's head and one of another label set, and the keys of both."""
    other = {"name": "other", "path": str(data / "other.jsonl")}
    clean = {"name": "clean", "path": str(data / "clean.jsonl")}
    target, (clean, other) = load_tasks(make_config(sources=[clean, other]))
    assert clean.head == target.head != other.head
    return build_model(make_config(), [target, clean, other]), target.head, other.head


def where(layout, model, key):
    return [layout.parameters.slices[name] for name in model.head_parameters(key)]


def inside(part: slice, whole: slice) -> bool:
    return whole.start <= part.start and part.stop <= whole.stop


def test_a_head_that_no_source_shares_is_private(model_and_heads):
    model, own, other = model_and_heads
    layout = lay_out(model, own, {other})
    assert layout.private == slice(0, sum(p.numel() for p in model.head(own).parameters()))
    assert all(inside(part, layout.private) for part in where(layout, model, own))
    assert layout.shared.start == layout.private.stop
    assert all(part.start >= layout.shared.stop for part in where(layout, model, other))
    rest = {name for name in layout.parameters.names if not name.startswith("heads.")}
    assert all(inside(layout.parameters.slices[name], layout.shared) for name in rest)


def test_a_head_that_a_source_shares_is_shared(model_and_heads):
    model, own, other = model_and_heads
    layout = lay_out(model, own, {own, other})
    assert layout.private == slice(0, 0)
    assert all(inside(part, layout.shared) for part in where(layout, model, own))


def test_alone_everything_is_private_and_other_heads_are_left_out(model_and_heads):
    model, own, other = model_and_heads
    layout = lay_out(model, own, set())
    assert layout.private == slice(0, layout.parameters.size)
    assert layout.shared == slice(layout.private.stop, layout.private.stop)
    assert not set(model.head_parameters(other)) & set(layout.parameters.names)


def test_groups_cover_every_parameter_once_with_its_own_rate_and_decay(model_and_heads, make_config):
    model, own, other = model_and_heads
    layout = lay_out(model, own, {other})
    ends = [0, *(part.stop for part, _ in layout.groups)]
    assert [part.start for part, _ in layout.groups] == ends[:-1]
    assert ends[-1] == layout.parameters.size
    config = make_config(train={"weight_decay": 0.3, "learning_rate": 1e-4, "head_learning_rate": 1e-2}).train
    optimiser = build_optimiser(layout, config)
    parameters = dict(model.named_parameters())
    for (part, _), group in zip(layout.groups, optimiser.param_groups):
        names = [name for name, place in layout.parameters.slices.items() if inside(place, part)]
        assert names
        for name in names:
            assert group["lr"] == (1e-2 if name.startswith("heads.") else 1e-4), name
            assert group["weight_decay"] == (0.3 if parameters[name].ndim > 1 else 0.0), name


def test_a_model_without_trainable_parameters_is_refused(model_and_heads):
    model, own, _ = model_and_heads
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ModelError, match="nothing is trainable"):
        lay_out(model, own, set())


def test_frozen_parameters_stay_out_of_the_buffer(make_config):
    config = make_config(model={"adapter": {"peft_type": "lora", "r": 2}})
    target, _ = load_tasks(config)
    model = build_model(config, [target])
    layout = lay_out(model, target.head, set())
    assert {name for name in layout.parameters.names if "lora" not in name} == set(
        model.head_parameters(target.head)
    )
    frozen = [p for name, p in model.named_parameters() if name not in layout.parameters.names]
    before = [parameter.clone() for parameter in frozen]
    layout.parameters.values.fill_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, frozen))
