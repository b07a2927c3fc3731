"""`sgg score` with a model in parts asks the training workers, and says what task workers would."""

import json

import pytest

from sgg_ray.errors import ConfigError
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.score.score_driver import score

pytestmark = pytest.mark.usefixtures("database")


class WithoutActors(InProcessExecutor):
    """A cluster whose task workers, which hold whole models, must not be asked for."""

    def start(self, kind, *arguments, **given):
        raise AssertionError("a task worker was started")


def test_the_report_is_that_of_task_workers(make_config, lm):
    common = {"model": {"path": str(lm)}, "train": {"max_length": 40}}
    config = make_config(name="parts", ray={"sharding": "fsdp", "num_workers": 2}, **common)
    found = score(config, executor=WithoutActors([Resources(2)]))
    expected = score(make_config(name="whole", **common), executor=InProcessExecutor([Resources(2)]))
    for mine, theirs in zip(found.report.sources, expected.report.sources, strict=True):
        assert (mine.source, mine.weight) == (theirs.source, pytest.approx(theirs.weight, abs=1e-6))
        assert mine.score.value == pytest.approx(theirs.score.value, abs=1e-6)
        assert found.report.layers[mine.source] == pytest.approx(
            expected.report.layers[mine.source], abs=1e-6
        )
    assert json.loads((found.folder / "scores.json").read_text())["target"] == config.target.name
    assert (found.folder / "layers.png").exists()


def test_rows_are_refused(make_config, lm):
    config = make_config(model={"path": str(lm)}, ray={"sharding": "fsdp", "num_workers": 2})
    with pytest.raises(ConfigError, match=r"ray\.sharding: rows are scored by whole models; remove it"):
        score(config, executor=WithoutActors([Resources(2)]), rows=True)
