import json

from sgg_ray.config import Config, config_schema
from sgg_ray.config.reference import all_keys, commented_defaults
from sgg_ray.config.training_sections import TrainConfig


def test_every_key_of_the_schema_is_there_once():
    keys = [key.path for key in all_keys()]
    assert len(keys) == len(set(keys))
    assert {
        "name",
        "model.path",
        "sources[].flip_labels",
        "guidance.fd_relative_change",
        "tune.space",
    } <= set(keys)
    properties = [*config_schema()["$defs"]["TrainConfig"]["properties"]]
    assert [key.removeprefix("train.") for key in keys if key.startswith("train.")] == properties


def test_defaults_and_bounds_are_those_of_the_schema():
    found = {key.path: key for key in all_keys()}
    assert found["target.shots"].default is None
    assert found["target.shots"].allowed == "whole number or all"
    assert found["train.micro_batch_size"].allowed == "whole number or null"
    assert found["guidance.hvp"].default == "finite_difference"
    assert "exact" in found["guidance.hvp"].allowed
    minimal = Config.model_validate(
        {"name": "x", "model": {"path": "m"}, "target": {"path": "t", "shots": 1}}
    )
    assert json.loads(found["train.max_steps"].default or "") == minimal.train.max_steps


def test_a_section_as_comments_leaves_out_what_is_given():
    text = commented_defaults(TrainConfig, ["steps"])
    assert "# steps:" not in text
    assert "  # learning_rate: 5e-05" in text
    assert all(line.startswith("  # ") for line in text.splitlines())
