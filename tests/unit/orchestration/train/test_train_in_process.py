"""`sgg train` from end to end without processes: what runs, in which order, and what a stopped run does again."""

import json
from contextlib import contextmanager

import pytest
import torch

from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.train.history import History, save_histories
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.orchestration.train.train_worker import write_result
from sgg_ray.training import Hooks, run_training

pytestmark = pytest.mark.usefixtures("database")


class Heard(NullListener):
    """Remembers stages; interrupts at the one that begins with ``stop_at``."""

    def __init__(self, stop_at=None):
        self.stop_at, self.stages, self.notes = stop_at, [], []

    def stage(self, text):
        self.stages.append(text)
        if self.stop_at and text.startswith(self.stop_at):
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def run(make_config, tmp_path):
    """Run the driver with one CPU or more; the training itself runs here, in place of Ray Train."""
    trained = []

    @contextmanager
    def fit(session, weights, workers, inbox):
        trained.append(weights)
        history = History("guided", inbox.log)
        hooks = Hooks(on_events=history.steps)
        device = torch.device("cpu")
        outcome = run_training(session.config, session.target, session.sources, weights, device, hooks=hooks)
        folder = tmp_path / f"training-{len(trained)}"
        folder.mkdir()
        write_result(folder, outcome, session.config, session.target)
        save_histories(folder, [history])
        yield folder

    def start(listener=None, cpus=1, **changes):
        executor = InProcessExecutor([Resources(cpus=cpus)])
        return train(make_config(ray={"task_workers": 1}, **changes), listener, executor, fit), trained

    return start


def test_sources_are_scored_first_and_the_baseline_comes_after_where_there_is_no_room(run):
    heard = Heard()
    result, trained = run(heard)
    assert [stage for stage in heard.stages if "scoring" in stage or "training" in stage] == [
        "scoring the sources",
        "training, 1 worker",
        "training the target-only baseline",
    ]
    assert trained == [result.report.weights]
    assert result.report.weights["flipped"] == 0.0
    assert result.comparison.rows == result.metrics.rows == result.baseline.rows
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    for name in ("guided", "target-only"):
        assert [event["step"] for event in events if event.get("run") == name] == list(range(8))


def test_a_stopped_run_trains_only_what_is_missing(run):
    with pytest.raises(KeyboardInterrupt):
        run(Heard(stop_at="training the target-only baseline"), sources=[])
    heard = Heard()
    result, trained = run(heard, cpus=2, sources=[])
    assert len(trained) == 1  # the guided training had ended
    assert any(stage.endswith("beside the target-only baseline") for stage in heard.stages)
    assert (
        json.loads((result.folder / "metrics.json").read_text())["target-only"]["rows"] == result.metrics.rows
    )
    assert json.loads((result.folder / "run.json").read_text())["status"] == "finished"
