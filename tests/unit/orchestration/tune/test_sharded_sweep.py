"""A sweep over a model in parts scores its sources in the training workers, and says what task workers would."""

import pytest

from sgg_ray.errors import ModelError
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.tune.sweep_plan import prepare_tuning
from sgg_ray.orchestration.tune.sweep_scores import SweepScores

pytestmark = pytest.mark.usefixtures("database")
SHARDED = {"sharding": "fsdp", "num_workers": 2}


class WithoutActors(InProcessExecutor):
    """A cluster whose task workers, which hold whole models, must not be asked for."""

    def start(self, kind, *arguments, **given):
        raise AssertionError("a task worker was started")


@pytest.fixture
def plan_of(make_config, lm):
    def plan(space, **ray):
        train = {"max_length": 40, "max_steps": 4}
        settings = {"space": space, "folds": 2, "num_samples": 2}
        config = make_config(model={"path": str(lm)}, train=train, tune=settings, ray=ray)
        return prepare_tuning(config, NullListener())

    return plan


def test_every_part_and_every_value_has_the_scores_of_task_workers(plan_of):
    space = {
        "alignment.summary.size": {"choice": [1024, 4096]},
        "guidance.lambda_direction": {"uniform": [0.0, 1.0]},
    }
    found = SweepScores(plan_of(space, **SHARDED), WithoutActors([Resources(2)])).of_parts(NullListener())
    expected = SweepScores(plan_of(space), InProcessExecutor([Resources(2)])).of_parts(NullListener())
    assert found.keys() == expected.keys()
    assert len(found) == 2
    for key, parts in expected.items():
        assert len(parts) == len(found[key]) == 2
        for mine, theirs in zip(found[key], parts, strict=True):
            assert mine.report.weights == pytest.approx(theirs.report.weights, abs=1e-6)
            values = [
                [row.score and row.score.value for row in part.report.sources] for part in (mine, theirs)
            ]
            assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_values_that_a_sharded_training_cannot_have_are_refused(plan_of):
    space = {
        "guidance.hvp": {"choice": ["finite_difference", "exact"]},
        "model.quantization": {"choice": [None, "nf4"]},
    }
    with pytest.raises(ModelError) as caught:
        plan_of(space, **SHARDED)
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "tune.space.guidance.hvp",
        "tune.space.model.quantization",
    ]
