"""What a training's driver is told reaches MLflow and TensorBoard, as it is in events.jsonl."""

import event_reader
import pytest

from sgg_ray.artifacts import RunFolder
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.messages import Recorded, StepDone
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.tasks import load_tasks

pytest.importorskip("tensorboardX", reason="needs python -m pip install 'sgg-ray[tensorboard]'")


class Tracked:
    """Stands for the tracker: keeps what is logged."""

    def __init__(self):
        self.points = []

    def log_curve(self, points):
        self.points += points


def steps(*numbers):
    return tuple(StepDone({"step": number, "loss": 1 / (number + 1)}) for number in numbers)


@pytest.fixture
def open_session(make_config):
    def make(tensorboard):
        config = make_config(tracking={"tensorboard": tensorboard}, sources=[])
        folder = RunFolder(config.ray.storage_path, config.name)
        folder.begin(config)
        target, _ = load_tasks(config)
        return Session(config, target, [], folder, Tracked(), NullListener(), InProcessExecutor())

    return make


def test_curves_of_both_trainings_and_of_a_process_before(open_session):
    first = open_session(True)
    first.complete(Recorded("guided", "a", 0, steps(0, 1, 2)))
    first.complete(Recorded("target-only", "b", 0, steps(0, 1)))
    assert first.tracker.points[-1] == (1, {"target-only/loss": 0.5})
    first.event_files.close()
    first.folder.finish("failed")

    again = open_session(True)  # guided had ended, the baseline is told from its beginning
    again.recall("guided")
    again.complete(Recorded("target-only", "c", 0, steps(0, 1, 2)))
    again.event_files.close()
    place = again.folder.path / "tensorboard"
    expected = {number: [pytest.approx(1 / (number + 1))] for number in range(3)}
    assert event_reader.read(place / "guided") == {"loss": expected}
    assert event_reader.read(place / "target-only") == {"loss": expected}


def test_without_the_key_there_are_no_event_files(open_session):
    session = open_session(False)
    session.complete(Recorded("guided", "a", 0, steps(0)))
    assert session.event_files is None
    assert not (session.folder.path / "tensorboard").exists()
