"""Somebody else's model folder: what no model has is one line, in a bounded time, before any weight is loaded."""

import json
import os
import time

import pytest
import toy

from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError
from sgg_ray.models import check_model

SECONDS = 5


@pytest.fixture(params=["encoder", "language model"])
def folder(request, tmp_path):
    save = toy.save_encoder if request.param == "encoder" else toy.save_language_model
    return save(tmp_path / "model")


def refusal(folder) -> str:
    started = time.monotonic()
    with pytest.raises(ModelError) as caught:
        check_model(ModelConfig.model_validate({"path": str(folder)}), 32)
    assert time.monotonic() - started < SECONDS
    (line,) = caught.value.problems
    assert "\n" not in line
    return line


def change(folder, name, **values) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


WRONG = {
    "negative width": ("hidden_size", -1),
    "width as text": ("hidden_size", "wide"),
    "width as a truth value": ("hidden_size", True),
    "no heads": ("num_attention_heads", 0),
    "more layers than memory": ("num_hidden_layers", 1_000_000),
    "vocabulary without weights": ("vocab_size", 90_000_000),
    "unknown activation": ("hidden_act", "evil"),
    "unknown dtype": ("dtype", "float99"),
    "labels that are no mapping": ("id2label", [1]),
    "a type that is no text": ("model_type", ["bert"]),
    "padding behind the vocabulary": ("pad_token_id", 10**9),
    "a kernel of the hub": ("_attn_implementation", "someone/kernel"),
    "a kernel of the hub by its public name": ("attn_implementation", "someone/kernel"),
    "a kernel of the hub for a part": ("text_config", {"_attn_implementation": "someone/kernel"}),
    "kernels by part": ("attn_implementation", {"text_config": "someone/kernel@main"}),
    "experts of the hub": ("experts_implementation", "someone/kernel"),
}


@pytest.mark.parametrize(("key", "value"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_in_config_json(folder, key, value):
    change(folder, "config.json", **{key: value})
    assert refusal(folder).startswith("model.path: ")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[]", "null", "3", '"x"', "{", "[" * 100_000, "\xff"])
def test_a_settings_file_that_holds_no_object(folder, name, content):
    (folder / name).write_text(content, encoding="latin-1")
    assert name in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_settings_file_that_is_too_large(folder, name):
    with open(folder / name, "ab") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    assert "MiB" in refusal(folder)


def test_a_vocabulary_that_never_ends(folder):
    (folder / "tokenizer.json").unlink()
    os.symlink("/dev/zero", folder / "tokenizer.json")
    assert "no regular file" in refusal(folder)


def test_a_pipe_in_place_of_a_file(folder):
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "config.json" in refusal(folder)


def test_many_layers_of_many_experts(folder):
    change(folder, "config.json", num_hidden_layers=900, num_experts=9000)
    assert "900 layers of 9,000 experts" in refusal(folder)


@pytest.mark.parametrize("token", ["unk_token", "pad_token", "cls_token"])
def test_a_special_token_without_characters(tmp_path, token):
    """One that no vocabulary can have: Transformers asks for the unknown token in its place, even for that itself."""
    folder = toy.save_encoder(tmp_path / "model")
    change(folder, "tokenizer_config.json", **{"unk_token": "", token: ""})
    assert "tokenizer" in refusal(folder)
