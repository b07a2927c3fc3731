"""A saved model predicts what it predicted before, without the run that made it."""

import json

import numpy as np
import pytest
import torch

from sgg_ray.errors import ModelError
from sgg_ray.models import MODEL_MANIFEST, build_model, load_model, save_model
from sgg_ray.tasks import load_tasks

ADAPTERS = [
    None,
    {"peft_type": "lora", "r": 4},
    {"peft_type": "ia3"},
    {"peft_type": "prompt_tuning", "num_virtual_tokens": 4},
]


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter["peft_type"] if adapter else "full")
def saved(request, make_config, tmp_path):
    """A model whose every trainable parameter was moved, its target, and the folder it was saved in."""
    config = make_config(model={"adapter": request.param})
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(model, folder, base=config.model.path, target_head=target.head)
    return model, target, folder


def probabilities(model, target) -> torch.Tensor:
    tokens = model.tokenise(target, target.test)
    with torch.no_grad():
        return model.probabilities(model.collate([(tokens, row) for row in range(len(tokens))]))


def test_a_loaded_model_predicts_the_same(saved):
    model, target, folder = saved
    loaded, head = load_model(folder)
    assert head == target.head
    assert loaded.labels == model.labels
    assert not loaded.training
    expected = probabilities(model, target)
    assert expected.std() > 0.01  # a model that says the same of every row would show nothing
    np.testing.assert_array_equal(probabilities(loaded, target), expected)


def test_only_safetensors_are_written(saved):
    _, _, folder = saved
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert not suffixes & {".bin", ".pt", ".pth", ".pkl"}


@pytest.mark.parametrize("broken", ["missing", "empty", "no heads"])
def test_what_is_no_saved_model_is_refused(saved, broken):
    _, _, folder = saved
    if broken == "missing":
        (folder / MODEL_MANIFEST).unlink()
    elif broken == "empty":
        (folder / MODEL_MANIFEST).write_text(json.dumps({}))
    else:
        (folder / "heads.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="no model that sgg wrote"):
        load_model(folder)
