"""A saved model predicts what it predicted before, without the run that made it."""

import json

import numpy as np
import pytest
import torch

from sgg_ray.errors import ModelError
from sgg_ray.models import MODEL_MANIFEST, build_model, load_model, read_manifest, save_model
from sgg_ray.models.manifest import checksums, write_manifest
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
        return model.predictions(model.collate([(tokens, row) for row in range(len(tokens))]))


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


WRONG = {
    "pooling": "evil",
    "temperature": 0,
    "max_length": -1,
    "adapted": "no",
    "base": 3,
    "heads": [],
    "target_head": "another",
    "files": {"../outside": "0"},
    "language_model": 5,
    "more": 1,
}


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "3", "{", "[" * 100_000], ids=range(7))
def test_a_manifest_that_is_none_is_refused(saved, content):
    _, _, folder = saved
    (folder / MODEL_MANIFEST).write_text(content)
    with pytest.raises(ModelError, match="no model that sgg wrote"):
        load_model(folder)
    (folder / MODEL_MANIFEST).unlink()
    with pytest.raises(ModelError, match="no model that sgg wrote"):
        load_model(folder)


@pytest.mark.parametrize("key", WRONG)
def test_a_manifest_with_a_wrong_value_is_refused(saved, key):
    _, _, folder = saved
    file = folder / MODEL_MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), key: WRONG[key]}))
    with pytest.raises(
        ModelError, match=r"no model that sgg wrote|is not the file that was written"
    ) as caught:
        load_model(folder)
    assert len(caught.value.problems) == 1


def test_a_flipped_byte_in_any_file_is_noticed(saved):
    _, _, folder = saved
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MODEL_MANIFEST]
    assert {"tokenizer.json"} < {path.name for path in files}
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(ModelError, match=f"{file.name} is not the file that was written"):
            load_model(folder)
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    load_model(folder)


def test_a_link_in_place_of_a_file_is_refused(saved, tmp_path):
    _, _, folder = saved
    heads = folder / "heads.safetensors"
    heads.rename(tmp_path / "elsewhere")
    heads.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="is not the file that was written"):
        load_model(folder)


@pytest.mark.parametrize("saved", [ADAPTERS[1]], indirect=True, ids=["lora"])
@pytest.mark.parametrize(
    "torn",
    ["[]", "{", '{"peft_type": "EVIL"}', '{"peft_type": ["LORA"]}', '{"megatron_config": {"a": 1}}'],
)
def test_settings_of_an_adapter_that_somebody_made_are_checked(saved, torn):
    """With checksums that fit: whoever makes a folder can make these as well."""
    _, _, folder = saved
    file = folder / "adapter" / "adapter_config.json"
    own = json.loads(file.read_text())
    file.write_text(json.dumps(own | json.loads(torn)) if torn.startswith('{"') else torn)
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"files": checksums(folder)}))
    with pytest.raises(ModelError, match="adapter"):
        load_model(folder)
