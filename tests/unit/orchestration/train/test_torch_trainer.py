"""What the driver makes of the ends that Ray Train can come to; Ray Train itself is a stand-in here."""

import json
import signal
import threading
from contextlib import contextmanager

import pytest
from ray.exceptions import ActorDiedError

from sgg_ray.artifacts import RunFolder
from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.messages import Recorded, StepDone
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor, InProcessInbox
from sgg_ray.orchestration.train import last_checkpoint, torch_trainer
from sgg_ray.orchestration.train.torch_trainer import MOST_RESTARTS, fit_with_ray_train
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.orchestration.train.train_state import SNAPSHOT, TRAIN_STATE
from sgg_ray.tasks import load_tasks


class Heard(NullListener):
    """Remembers notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


class Tracked:
    """Stands for the tracker."""

    def log_curve(self, points):
        pass


class Ended:
    """Stands for Ray Train's result of a training that has ended well."""

    error = return_value = None
    path = "nowhere"

    def __init__(self, folder):
        self.folder = folder

    @property
    def checkpoint(self):
        return self

    @contextmanager
    def as_directory(self):
        yield self.folder


@pytest.fixture
def session(make_config, monkeypatch):
    for module in (torch_trainer, last_checkpoint):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(torch_trainer.ray, "put", lambda value: value)
    config = make_config(sources=[])
    folder = RunFolder(config.ray.storage_path, config.name)
    folder.begin(config)
    return Session(config, load_tasks(config)[0], [], folder, Tracked(), Heard(), InProcessExecutor())


def ends(monkeypatch, *fits):
    """Trainers that do one of these after the other."""
    left = iter(fits)

    class Trainer:
        def fit(self):
            return next(left)()

    monkeypatch.setattr(torch_trainer, "make_trainer", lambda job, state: Trainer())
    return left


def die():
    raise ActorDiedError()


@pytest.fixture(autouse=True)
def groups(monkeypatch):
    """Placement groups of this driver that are there."""
    found = {"another's"}
    monkeypatch.setattr(torch_trainer, "own_placement_groups", lambda: set(found))
    monkeypatch.setattr(torch_trainer, "remove_all", found.difference_update)
    return found


@pytest.mark.parametrize("deaths", range(MOST_RESTARTS + 1))
def test_a_controller_that_dies_is_started_again(session, monkeypatch, tmp_path, groups, deaths):
    def die_with_workers():
        assert groups == {"another's"}  # else there may be no room for the workers
        groups.add("the workers'")
        die()

    left = ends(monkeypatch, *[die_with_workers] * deaths, lambda: Ended(tmp_path))
    with fit_with_ray_train(session, {}, None, InProcessInbox()) as checkpoint:
        assert checkpoint == tmp_path
    assert next(left, None) is None
    line = "Ray Train's controller has died; going on from the last checkpoint"
    assert session.listener.notes == [line] * deaths
    assert groups == {"another's"}


def test_a_controller_that_dies_again_and_again_ends_the_training(session, monkeypatch):
    left = ends(monkeypatch, *[die] * (MOST_RESTARTS + 2))
    with (
        pytest.raises(ClusterError, match="training failed: "),
        fit_with_ray_train(session, {}, None, InProcessInbox()),
    ):
        pass
    assert len(list(left)) == 1


@pytest.mark.parametrize(
    ("method", "notes"), [("gradients", ["the same command goes on from step 5"]), ("auto", None)]
)
def test_a_driver_that_is_interrupted_waits_for_a_checkpoint(session, monkeypatch, method, notes):
    train = session.config.train.model_copy(update={"method": method})
    session.config = session.config.model_copy(update={"train": train})
    inbox, over = InProcessInbox(), threading.Event()
    state = session.folder.path / TRAIN_STATE
    state.mkdir()

    def fit():
        inbox.tell(Recorded("guided", "an attempt", 0, (StepDone({"step": 4, "loss": 1.0}),)))
        while not session.shown:
            over.wait(0.01)
        threading.Timer(0.0, signal.raise_signal, (signal.SIGINT,)).start()
        while not inbox.checkpoint_wanted:
            over.wait(0.01)
        latest = {"checkpoint_dir_name": "checkpoint_1", "metrics": {"step": 5}}
        (state / SNAPSHOT).write_text(json.dumps({"latest_checkpoint_result": latest}))
        over.wait(20)

    ends(monkeypatch, fit)
    with pytest.raises(KeyboardInterrupt) as caught, fit_with_ray_train(session, {}, None, inbox):
        pass
    over.set()
    assert getattr(caught.value, "__notes__", None) == notes
