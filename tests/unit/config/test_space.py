"""Sweeps: which keys and values are taken, and what is said of the others."""

import pytest
from pydantic import ValidationError

from sgg_ray.config import Distribution, TuneConfig, depends_on_scores, load_config, with_values
from sgg_ray.errors import ConfigError


def sweep(write_config, space, **tune):
    return write_config(tune={"space": space, **tune})


def test_the_default_space_is_the_three_strengths():
    assert set(TuneConfig.model_validate({}).space) == {
        "guidance.lambda_direction",
        "guidance.lambda_magnitude",
        "guidance.lambda_alignment",
    }


def test_values_are_put_where_their_keys_say(make_config):
    config = make_config(model={"adapter": {"peft_type": "lora", "r": 4}})
    changed = with_values(
        config, {"guidance.lambda_direction": 0.7, "model.adapter.r": 2, "train.max_steps": 3}
    )
    assert (changed.guidance.lambda_direction, changed.train.max_steps) == (0.7, 3)
    assert changed.model.adapter.model_dump()["r"] == 2
    assert config.guidance.lambda_direction != 0.7
    with pytest.raises(ValidationError):
        with_values(config, {"train.max_steps": 0})


@pytest.mark.parametrize(
    ("key", "values", "reason"),
    [
        ("guidance.directoin", {"choice": [1]}, "did you mean 'guidance.lambda_direction'?"),
        ("train.max_steps", {"integer": [0, 5]}, "greater than or equal to 1, found 0"),
        ("target.shots", {"choice": [1, 2]}, "cannot be searched"),
        ("seed", {"choice": [1, 2]}, "cannot be searched"),
        ("model.pooling", {"choice": ["mean", "middle"]}, "found 'middle'"),
        ("model.adapter.r", {"choice": [2]}, "no such key"),
        ("train.max_length", {"integer": [8, 9]}, "give the values as a choice"),
        ("alignment.confidence", {"uniform": [0.5, 0.9]}, "give the values as a choice"),
        ("guidance.fd_relative_change", {"uniform": [2, 1]}, "low < high"),
        ("guidance.fd_relative_change", {"log_uniform": [0, 1]}, "0 < low"),
        ("guidance.fd_relative_change", {"uniform": [0.1, 1], "choice": [1]}, "one of uniform"),
        ("guidance.fd_relative_change", {}, "one of uniform"),
        ("guidance.fd_relative_change", {"choice": []}, "at least one"),
        ("guidance.fd_relative_change", {"choice": [[1]]}, "at least one"),
        ("guidance.fd_relative_change", {"lognormal": [1, 2]}, "unknown key"),
    ],
)
def test_what_cannot_be_searched_is_one_line_with_its_key(write_config, key, values, reason):
    with pytest.raises(ConfigError) as caught:
        load_config(sweep(write_config, {key: values}))
    (line,) = caught.value.problems
    assert line.startswith(f"tune.space.{key}")
    assert reason in line


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        ({"search": "grid"}, "grid needs a choice"),
        ({"scheduler": "asha", "folds": 1}, "two trainings or more"),
        ({"num_samples": 0}, ">= 1"),
    ],
)
def test_settings_that_do_not_fit_together(write_config, tune, reason):
    with pytest.raises(ConfigError) as caught:
        load_config(sweep(write_config, {"guidance.fd_relative_change": {"uniform": [0.1, 1]}}, **tune))
    assert reason in caught.value.problems[0]


def drawn_from(**distribution) -> Distribution:
    return Distribution.model_validate(distribution)


def test_a_distribution_knows_what_it_can_draw():
    assert drawn_from(log_uniform=(1e-3, 1)).holds(0.1)
    assert not drawn_from(log_uniform=(1e-3, 1)).holds(0.0)
    assert not drawn_from(uniform=(0, 1)).holds(True)
    assert drawn_from(choice=["mean", None]).holds(None)
    assert not drawn_from(choice=["mean"]).holds("cls")


def test_sources_are_scored_anew_where_labels_meet_elsewhere():
    assert depends_on_scores("train.share_labels")
    assert depends_on_scores("model.adapter.r")
    assert not depends_on_scores("train.learning_rate")
