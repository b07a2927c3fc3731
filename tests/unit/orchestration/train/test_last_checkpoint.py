"""A driver that is stopped waits for one more checkpoint, but neither in vain nor without end."""

import time

import pytest

from sgg_ray.artifacts import RunFolder
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.messages import Recorded, StepDone
from sgg_ray.orchestration.runtime.event_log import EventLog
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor, InProcessInbox
from sgg_ray.orchestration.train import checkpoint_request, last_checkpoint
from sgg_ray.orchestration.train.checkpoint_request import CheckpointRequest
from sgg_ray.orchestration.train.last_checkpoint import keep_checkpoint
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.orchestration.train.train_state import SNAPSHOT, TRAIN_STATE, StoredCheckpoint, stored_checkpoint
from sgg_ray.tasks import load_tasks

OLD, NEW = StoredCheckpoint("checkpoint_1", 3), StoredCheckpoint("checkpoint_2", 5)


class Tracked:
    """Stands for the tracker, which is not asked anything here."""

    def log_curve(self, points):
        pass


class Heard(NullListener):
    """Remembers notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(last_checkpoint, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(last_checkpoint, "KEEP_SECONDS", 0.5)


@pytest.fixture
def session(make_config):
    config = make_config(sources=[])
    folder = RunFolder(config.ray.storage_path, config.name)
    folder.begin(config)
    return Session(config, load_tasks(config)[0], [], folder, Tracked(), Heard(), InProcessExecutor())


def tell(inbox, *steps, run="guided", first=0):
    entries = tuple(StepDone({"step": step, "loss": 1.0}) for step in steps)
    inbox.tell(Recorded(run, f"attempt of {run}", first, entries))


def stepping(session, *steps, run="guided"):
    """An inbox of a training that has told these steps."""
    inbox = InProcessInbox()
    tell(inbox, *steps, run=run)
    session.pass_on(inbox)
    return inbox


def test_it_waits_for_a_new_checkpoint_and_takes_in_what_is_told_meanwhile(session):
    inbox = stepping(session, 0, 1, 2)
    # The snapshot cannot be read while it is being written.
    answers = iter([OLD, OLD, None, OLD, NEW])

    def last():
        found = next(answers)
        if found is OLD and inbox.checkpoint_wanted:
            tell(inbox, 3, first=3)
        return found

    keep_checkpoint(session, inbox, last, lambda: True)
    assert inbox.checkpoint_wanted
    assert next(answers, "all were asked for") == "all were asked for"
    assert session.shown == {"guided": 3}
    assert session.listener.notes == ["stopping: waiting up to 0.5 s for a checkpoint"]


def test_it_does_not_wait_before_the_first_step(session):
    inbox = stepping(session, *range(8), run="target-only")
    keep_checkpoint(session, inbox, lambda: OLD, lambda: True)
    assert not inbox.checkpoint_wanted
    assert session.listener.notes == []


@pytest.mark.parametrize("run", ["guided", "guided/short"])
def test_it_waits_for_what_a_training_leaves_that_has_had_all_its_steps(session, run):
    inbox, answers = stepping(session, *range(8), run=run), iter([OLD, OLD, NEW])
    keep_checkpoint(session, inbox, lambda: next(answers), lambda: True)
    assert inbox.checkpoint_wanted


@pytest.mark.parametrize(("is_running", "least", "most"), [(True, 0.5, 5.0), (False, 0.0, 0.4)])
def test_it_gives_up_after_a_while_and_at_the_end_of_the_training(session, is_running, least, most):
    inbox = stepping(session, 0)
    began = time.monotonic()
    keep_checkpoint(session, inbox, lambda: OLD, lambda: is_running)
    assert least <= time.monotonic() - began < most


def test_a_worker_asks_now_and_then_and_is_told_once(monkeypatch):
    now = 100.0
    monkeypatch.setattr(checkpoint_request.time, "monotonic", lambda: now)
    inbox, asked = InProcessInbox(), []
    monkeypatch.setattr(inbox, "wants_checkpoint", lambda: asked.append(now) or inbox.checkpoint_wanted)
    request = CheckpointRequest(inbox)
    answers = []
    for now in (100.0, 100.4, 101.0, 101.5, 102.0, 103.0):
        answers.append(request())
        if now == 101.0:
            inbox.want_checkpoint()
    assert asked == [100.0, 101.0, 102.0]
    assert answers == [False, False, False, False, True, False]


def test_an_event_log_that_has_started_again_knows_it_from_the_next_call():
    for log in (EventLog(), EventLog()):
        assert not log.wants_checkpoint()
        log.fetch(2, {}, True)
        assert log.wants_checkpoint()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, None),
        ("", None),
        ('{"latest_checkpoint_result": nu', None),
        ('{"latest_checkpoint_result": null}', None),
        (
            '{"latest_checkpoint_result": {"checkpoint_dir_name": "checkpoint_2", "metrics": {"step": 5}}}',
            NEW,
        ),
    ],
)
def test_what_a_training_goes_on_from(session, content, found):
    state = session.folder.state(TRAIN_STATE)
    if content is not None:
        place = session.folder.path / TRAIN_STATE
        place.mkdir()
        (place / SNAPSHOT).write_text(content)
    assert stored_checkpoint(state) == found
