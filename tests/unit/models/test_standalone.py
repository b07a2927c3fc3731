"""What is logged of a model loads on a machine that has nothing else of the run."""

import shutil

import pytest
import torch

from sgg_ray.errors import ModelError
from sgg_ray.models import AveragedModel, build_model, load_model, save_model, standalone, write_calibration
from sgg_ray.tasks import load_tasks

LORA = {"peft_type": "lora", "r": 4}
PROMPT = {"peft_type": "prompt_tuning", "num_virtual_tokens": 4}


def moved(config, target, seed):
    """A model whose every trainable parameter was moved."""
    model = build_model(config, [target]).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def make_saved(make_config, encoder, tmp_path):
    """Save a model over a base folder that is the test's own; return target, both folders and what it predicts."""

    def make(adapter, members=1):
        base = shutil.copytree(encoder, tmp_path / "base-model")
        config = make_config(model={"path": str(base), "adapter": adapter})
        target, _ = load_tasks(config)
        found = [moved(config, target, seed) for seed in range(members)]
        model = found[0] if members == 1 else AveragedModel(found, [1 / members] * members)
        folder = tmp_path / "model"
        folder.mkdir()
        save_model(model, folder, base=str(base), target_head=target.head)
        write_calibration(folder, {"temperature": 1.5})
        return target, base, folder, probabilities(model, target)

    return make


def probabilities(model, target) -> torch.Tensor:
    tokens = model.tokenise(target, target.test)
    with torch.no_grad():
        return model.predictions(model.collate([(tokens, row) for row in range(len(tokens))]))


@pytest.mark.parametrize(("adapter", "members"), [(LORA, 1), (PROMPT, 1), (LORA, 2)])
def test_an_adapter_takes_its_base_along(make_saved, tmp_path, adapter, members):
    target, base, folder, expected = make_saved(adapter, members)
    copy = standalone(folder, tmp_path / "copy")
    assert copy == tmp_path / "copy"
    shutil.rmtree(base)
    with pytest.raises(ModelError):
        load_model(folder)
    shutil.rmtree(folder)
    loaded, _ = load_model(copy)
    assert torch.equal(probabilities(loaded, target), expected)
    weights = next(copy.rglob("base/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match=r"base/model\.safetensors is not the file"):
        load_model(copy)


def test_a_model_that_was_trained_whole_is_enough_by_itself(make_saved, tmp_path):
    _, _, folder, _ = make_saved(None)
    assert standalone(folder, tmp_path / "copy") == folder
    assert not (tmp_path / "copy").exists()


def test_a_hub_has_its_models(make_saved, tmp_path):
    _, base, folder, _ = make_saved(LORA)
    path = folder / "sgg_model.json"
    path.write_text(path.read_text().replace(str(base), "owner/name"))
    assert standalone(folder, tmp_path / "copy") == folder
