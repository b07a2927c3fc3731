"""A setting that is for another kind of model is named before anything that follows from it is looked at."""

import pytest

from sgg_ray.errors import ModelError
from sgg_ray.models import check_settings
from sgg_ray.orchestration.compare.comparison_plan import prepare_comparison
from sgg_ray.orchestration.lifecycle import read_tasks
from sgg_ray.orchestration.listener import NullListener

LORA = {"peft_type": "lora", "r": 4}
OFF = {f"lambda_{term}": 0 for term in ("direction", "magnitude", "alignment", "source")}
FOR_ENCODERS = [
    ("model.pooling", "cls"),
    ("model.trainable", "heads"),
    ("train.head", "label_names"),
    ("train.method", "setfit"),
]
FOR_LANGUAGE_MODELS = [
    ("model.chat", False),
    ("model.length_normalised", True),
    ("model.contextual_calibration", True),
    ("train.loss", "t_few"),
    ("train.context_examples", 4),
    ("train.method", "zero_shot"),
    ("train.method", "in_context"),
]
FOR_CAUSAL_MODELS = [("model.quantization", "nf4"), ("ray.sharding", "fsdp")]


def with_setting(make, path, key, value):
    section, name = key.split(".")
    changes = {"model": {"path": str(path)}, "guidance": OFF if key == "train.method" else {}}
    return make(**{**changes, section: {**changes.get(section, {}), name: value}})


def refusal(config):
    with pytest.raises(ModelError) as caught:
        check_settings(config)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize(("key", "value"), FOR_ENCODERS)
@pytest.mark.parametrize("model", ["lm", "t5"])
def test_what_is_for_encoders(make_config, encoder, key, value, model, request):
    check_settings(with_setting(make_config, encoder, key, value))
    path = request.getfixturevalue(model)
    title = {"lm": "a causal language model", "t5": "an encoder-decoder model"}[model]
    line = refusal(with_setting(make_config, path, key, value))
    assert line == (
        f"{key}: {value} is for encoders, and {path} is {title}; leave it out, or give another model"
    )


@pytest.mark.parametrize(("key", "value"), FOR_LANGUAGE_MODELS)
def test_what_is_for_language_models(make_config, encoder, lm, t5, key, value):
    check_settings(with_setting(make_config, lm, key, value))
    check_settings(with_setting(make_config, t5, key, value))
    line = refusal(with_setting(make_config, encoder, key, value))
    assert line.startswith(
        f"{key}: {str(value).lower()} is for language models, and {encoder} is an encoder;"
    )


@pytest.mark.parametrize(("key", "value"), FOR_CAUSAL_MODELS)
def test_what_is_for_causal_models(make_config, encoder, t5, key, value):
    for path, title in ((encoder, "an encoder"), (t5, "an encoder-decoder model")):
        line = refusal(with_setting(make_config, path, key, value))
        assert line.startswith(f"{key}: {value} is for causal language models, and {path} is {title};")


@pytest.mark.parametrize("kind", ["ordinal", "regression", "multi_label"])
def test_what_auto_cannot_choose_for(make_config, encoder, lm, kind):
    """It begins heads of encoders at the names of classes; a language model is trained once, as the file says."""
    columns = {"label": "labels"} if kind == "multi_label" else {}
    target = {"kind": kind, "labels": None, "columns": columns}
    line = refusal(make_config(train={"method": "auto"}, target=target))
    assert line.startswith(
        "strategy: auto chooses trainings of an encoder for a target of kind classification"
    )
    assert f"found {kind}; leave it out" in line
    check_settings(make_config(train={"method": "auto"}))
    check_settings(make_config(train={"method": "auto"}, target=target, model={"path": str(lm)}))


def test_it_is_named_before_the_length_that_follows_from_it(make_config, encoder):
    """``train.context_length`` is 1024 tokens, more than the encoder has positions."""
    with pytest.raises(ModelError) as caught:
        read_tasks(with_setting(make_config, encoder, "train.context_examples", 4), NullListener())
    assert [line.split(":")[0] for line in caught.value.problems] == ["train.context_examples"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"kind": "generation", "columns": {"prompt": "text", "completion": "label"}}, "target.kind"),
        ({"prompt": "Text: {text}"}, "target.prompt"),
    ],
)
def test_a_task_is_named_before_lengths(make_config, changes, key):
    """With what a language model would answer, the encoder's positions would not suffice either."""
    config = make_config(target=changes | {"labels": None}, sources=[], train={"max_length": 60})
    with pytest.raises(ModelError) as caught:
        read_tasks(config, NullListener())
    assert [line.split(":")[0] for line in caught.value.problems] == [key]


def test_a_comparison_names_the_strategy(make_config):
    episodes = {"name": "episodes", "train": {"context_examples": 4}}
    config = make_config(compare={"strategies": [{"name": "full"}, episodes]})
    with pytest.raises(ModelError) as caught:
        prepare_comparison(config, NullListener())
    (line,) = caught.value.problems
    assert line.startswith("compare.strategies.episodes.train.context_examples: 4 is for language models")
