"""What a run's trainings cost is told before they begin."""

import pytest

from sgg_ray.tasks import load_tasks
from sgg_ray.training import TimeEstimate, estimate_time, passes_per_step, time_estimate


@pytest.mark.parametrize(
    ("guidance", "expected"),
    [
        ({"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}, 1),
        ({"lambda_direction": 0.1, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}, 2),
        ({"lambda_direction": 0.1, "hvp": "central_difference", "interval": 2, "lambda_source": 1}, 4),
        ({"lambda_direction": 0.1, "hvp": "first_order", "lambda_source": 1}, 3),
    ],
)
def test_passes_count_the_second_one_of_the_terms_and_the_sources(make_config, guidance, expected):
    config = make_config(guidance=guidance, train={"batch_size": 4, "source_batch_size": 8})
    assert passes_per_step(config) == expected


def test_all_trainings_are_counted(make_config, monkeypatch):
    monkeypatch.setattr(time_estimate, "_seconds_of_a_pass", lambda config, target: 0.5)
    off = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}
    config = make_config(
        guidance=off, train={"method": "auto", "max_steps": 10, "budget": 2, "baseline": True}
    )
    target, _ = load_tasks(config)
    assert estimate_time(config, target, folds=2) == TimeEstimate(0.5 * 10 * 9, 9, 10, fewer=True)


def test_a_pass_is_timed_on_the_model_itself(make_config):
    config = make_config(train={"max_steps": 3})
    target, _ = load_tasks(config)
    estimate = estimate_time(config, target, folds=0)
    assert 0 < estimate.seconds < 60


def test_times_are_in_words():
    assert str(TimeEstimate(90, 1, 60)).startswith("about 90 s for one training of 60 steps")
    assert str(TimeEstimate(600, 4, 60)).startswith("about 10 min for 4 trainings of 60 steps")
    assert str(TimeEstimate(90, 1, 60, fewer=True)).startswith("at most 90 s for one training")
