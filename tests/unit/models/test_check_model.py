"""Models that cannot be used are found from their files, before any weights are loaded."""

import json
import shutil

import numpy as np
import pytest

from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError
from sgg_ray.models import build_model, check_model, check_tasks
from sgg_ray.tasks import Rows, Task


@pytest.fixture
def copy(encoder, tmp_path):
    """A copy of the tiny encoder that a test may break."""
    return shutil.copytree(encoder, tmp_path / "model")


def refusal(path, max_length=24, **settings) -> str:
    with pytest.raises(ModelError) as caught:
        check_model(ModelConfig.model_validate({"path": str(path), **settings}), max_length)
    (line,) = caught.value.problems
    assert "\n" not in line
    return line


ADAPTERS = [
    {"peft_type": "lora", "r": 4},
    {"peft_type": "lora", "r": 4, "init_lora_weights": "pissa"},  # looks at the weights
    {"peft_type": "ia3"},
    {"peft_type": "prompt_tuning", "num_virtual_tokens": 4},
]


@pytest.mark.parametrize("adapter", [None, *ADAPTERS])
def test_a_sound_model_passes(encoder, adapter):
    check_model(ModelConfig.model_validate({"path": str(encoder), "adapter": adapter}), 24)


@pytest.mark.parametrize("settings", [{"model_type": "vit"}, {"model_type": "bert", "is_decoder": True}])
def test_neither_encoder_nor_language_model(copy, settings):
    (copy / "config.json").write_text(json.dumps(settings))
    line = refusal(copy)
    assert f"'{settings['model_type']}'" in line
    assert "neither encoder nor language model" in line


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "no-such-architecture"}'])
def test_an_unreadable_configuration_is_one_line(copy, content):
    (copy / "config.json").write_text(content)
    assert str(copy) in refusal(copy)


def test_weights_that_are_not_safetensors_are_refused(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "no .safetensors weights" in refusal(copy)


def test_torn_weights_are_refused(copy, make_config):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "model.safetensors" in refusal(copy)
    with pytest.raises(ModelError, match=r"model\.path: the weights .* cannot be loaded"):
        build_model(make_config(model={"path": str(copy)}), [])


def test_a_missing_tokenizer_is_named(copy):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    assert "tokenizer" in refusal(copy)


def test_an_unknown_adapter_is_answered_with_the_nearest(encoder):
    line = refusal(encoder, adapter={"peft_type": "lorra"})
    assert line.startswith("model.adapter.peft_type: ")
    assert "did you mean 'lora'?" in line


@pytest.mark.parametrize(
    "adapter",
    [{"peft_type": "lora", "ranks": 4}, {"peft_type": "lora", "r": "four"}, {"peft_type": "lora", "r": 0}],
)
def test_an_option_that_the_adapter_does_not_take_is_named(encoder, adapter):
    line = refusal(encoder, adapter=adapter)
    assert line.startswith("model.adapter")
    assert str(adapter[list(adapter)[-1]]) in line


def test_modules_that_the_model_does_not_have_are_refused(encoder):
    assert "nowhere" in refusal(encoder, adapter={"peft_type": "lora", "target_modules": ["nowhere"]})


def test_a_pooler_that_the_model_does_not_have_is_refused(copy):
    settings = {"model_type": "distilbert", "dim": 32, "n_heads": 2, "n_layers": 1, "hidden_dim": 64}
    (copy / "config.json").write_text(json.dumps(settings))
    assert refusal(copy, pooling="own").startswith("model.pooling: ")


def test_more_tokens_than_the_model_has_positions_are_refused(encoder):
    check_model(ModelConfig.model_validate({"path": str(encoder)}), 64)
    assert "takes at most 64 tokens, found 65" in refusal(encoder, max_length=65)


def test_virtual_tokens_take_positions_too(encoder):
    adapter = {"peft_type": "prompt_tuning", "num_virtual_tokens": 10}
    assert "takes at most 54 tokens" in refusal(encoder, max_length=60, adapter=adapter)


def test_roberta_counts_positions_from_behind_the_padding(copy):
    settings = {
        "model_type": "roberta",
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "pad_token_id": 1,
    }
    (copy / "config.json").write_text(json.dumps(settings))
    assert "takes at most 64 tokens, found 65" in refusal(copy, max_length=65)
    check_model(ModelConfig.model_validate({"path": str(copy)}), 64)


@pytest.mark.parametrize(("labels", "told"), [(["bad", "good"], 0), (["0", "1"], 1)])
def test_labels_without_words_are_told_where_a_head_is_to_begin_at_names(make_config, labels, told):
    rows = Rows(("a", "b"), np.array([0, 1]))
    task = Task("target", tuple(labels), rows, rows, "target")
    assert len(check_tasks(make_config(train={"head": "label_names"}), [task])) == told
    assert not check_tasks(make_config(), [task])
