"""A sweep from end to end without processes: real trainings, one after the other, in place of Ray Tune's search."""

from pathlib import Path

import pytest
import yaml

from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.messages import TrialBegan, TrialReported
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.tune.sweep_trial import Sweep, score_key, trainings_of
from sgg_ray.orchestration.tune.tune_driver import tune

pytestmark = pytest.mark.usefixtures("database")
KEY = "train.learning_rate"
GOOD, BAD = {KEY: 1e-3}, {KEY: 1e30}


class Mailbox:
    """An event log in this process; also the receipt of what it is told."""

    def __init__(self):
        self.messages = []

    def tell(self, message, attempt=""):
        self.messages.append(message)
        return self

    def taken(self):
        return 0

    def require_driver(self):
        pass

    def fetch(self, taken):
        return list(self.messages)

    def done(self):
        del self.messages[0]


class Heard(NullListener):
    """Remembers stages and notes."""

    def __init__(self):
        self.stages, self.notes = [], []

    def stage(self, text):
        self.stages.append(text)

    def note(self, text):
        self.notes.append(text)


def in_turn(*points, stop_after=None):
    """A search that tries these values; interrupted after so many trials."""

    def search(plan, scores, at_once, record):
        log, groups = Mailbox(), record.folder.state("ray_groups")
        sweep = Sweep(
            plan.config, plan.target, plan.sources, plan.folds, scores, log, dict(record.kept), groups
        )
        for number, values in enumerate(points, start=1):
            name = f"trial_{number}"
            if stop_after is not None and number > stop_after:
                raise KeyboardInterrupt
            kept = record.kept.get(name)
            log.tell(TrialBegan(name, values))
            done = [training.model_dump() for training in kept.trainings] if kept else []
            for trainings, failure in trainings_of(sweep, name, values, done):
                log.tell(TrialReported(name, tuple(trainings), failure))
            record.take_all(log)

    return search


@pytest.fixture
def sweep(make_config):
    def start(search, **changes):
        heard = Heard()
        space = {KEY: {"choice": [1e-3, 1e30]}}
        config = make_config(
            tune={
                "space": space,
                "search": "random",
                "folds": 2,
                "num_samples": 2,
                **changes.pop("tune", {}),
            },
            **{"train": {"max_steps": 30, "warmup_ratio": 0.0}, **changes},
        )
        return heard, tune(config, heard, InProcessExecutor([Resources(cpus=2)]), search)

    return start


def test_a_trial_that_fails_is_told_and_the_best_one_is_written(sweep):
    heard, result = sweep(in_turn(BAD, GOOD))
    assert [(trial.number, trial.status) for trial in result.trials] == [(2, "finished"), (1, "failed")]
    assert "not finite" in result.trials[1].note
    best = yaml.safe_load((result.folder / "best.yaml").read_text())
    assert (best["name"], best["train"]["learning_rate"]) == ("toy-best", 1e-3)
    # Sources are scored once for each held-out part, before any trial, by workers that load the model once.
    assert [stage.split(":")[0] for stage in heard.stages[-3:]] == [
        "loading the model in the task workers",
        "scoring the sources",
        "searching",
    ]


def test_an_interrupted_sweep_goes_on_with_the_trials_that_are_missing(sweep, tmp_path: Path):
    changes = {"train": {"max_steps": 2}, "sources": []}
    with pytest.raises(KeyboardInterrupt):
        sweep(in_turn(GOOD, GOOD, stop_after=1), **changes)
    assert not (tmp_path / "runs" / "toy" / "best.yaml").exists()
    heard, result = sweep(in_turn(GOOD, GOOD), **changes)
    assert "1 finished trials are kept, the others resume" in heard.notes
    assert [trial.status for trial in result.trials] == ["finished"] * 2
    assert result.trials[0].losses == result.trials[1].losses  # the same values, seeds and rows


def test_a_sweep_without_a_finished_trial_fails(sweep):
    with pytest.raises(ClusterError, match=r"no trial finished \(.*not finite"):
        sweep(in_turn(BAD), sources=[])


def test_a_sweep_may_search_how_rows_are_weighted(sweep, data: Path):
    key = "alignment.row_weighting"
    parts = {}

    def search(plan, scores, at_once, record):
        parts.update(scores)
        in_turn({key: "none"}, {key: "keep"})(plan, scores, at_once, record)

    source = {"name": "some", "path": str(data / "clean.jsonl"), "flip_labels": 0.3}
    _, result = sweep(
        search, train={"max_steps": 2}, sources=[source], tune={"space": {key: {"choice": ["none", "keep"]}}}
    )
    assert [trial.status for trial in result.trials] == ["finished", "finished"]
    plain, kept = (parts[score_key({key: value})] for value in ("none", "keep"))
    assert [one.rows for one in plain] == [{}, {}]
    for before, after in zip(plain, kept):
        assert 0.1 < (after.rows["some"] == 0).mean() < 0.4
        assert after.report.sources[0].score.value > before.report.sources[0].score.value
