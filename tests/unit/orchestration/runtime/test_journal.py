"""events.jsonl holds each training's history exactly, whatever was lost, told twice or told by a process that died."""

import json
import random

import pytest

from sgg_ray.artifacts import RunFolder
from sgg_ray.orchestration.messages import Recorded, StepDone, Warned, steps_of
from sgg_ray.orchestration.runtime.event_log import EventLog
from sgg_ray.orchestration.runtime.journal import Journal
from sgg_ray.orchestration.train import history as worker_side
from sgg_ray.orchestration.train.history import History, save_histories, saved_histories

STEPS, SAVED = 60, 10


def step(number, seconds=0.5):
    return StepDone({"step": number, "loss": 1 / (number + 1), "seconds": seconds})


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path, "run")
    made.path.mkdir()
    return made


def lines(folder):
    return [json.loads(line) for line in (folder.path / "events.jsonl").read_text().splitlines()]


def part(*numbers, attempt="first", run="guided", seconds=0.5):
    return Recorded(run, attempt, numbers[0], tuple(step(number, seconds) for number in numbers))


def test_what_was_lost_on_the_way_is_waited_for(folder):
    journal = Journal(folder)
    assert steps_of(journal.take(part(0, 1)).fresh) == [step(0).values, step(1).values]
    assert journal.take(part(3, 4)).entries == ()
    assert journal.taken == {"first": 2}
    journal.take(part(1, 2, 3, 4))
    assert [line["step"] for line in lines(folder)] == [0, 1, 2, 3, 4]


def test_another_attempt_takes_the_place_of_steps_after_its_checkpoint(folder):
    journal = Journal(folder)
    journal.take(part(*range(8)))
    journal.take(part(0, 1, run="target-only", attempt="other"))
    fresh = journal.take(Recorded("guided", "second", 0, tuple(map(step, range(5))))).fresh
    assert fresh == ()
    late = journal.take(part(8, 9))  # of a process that is dead by now
    assert late.entries == ()
    journal.take(part(5, 6, attempt="second", seconds=0.75))
    guided = [line for line in lines(folder) if line["run"] == "guided"]
    assert [(line["step"], line["seconds"]) for line in guided] == [(n, 0.5) for n in range(5)] + [
        (5, 0.75),
        (6, 0.75),
    ]
    assert [line["step"] for line in lines(folder) if line["run"] == "target-only"] == [0, 1]


def test_a_finished_training_mends_what_somebody_has_broken(folder):
    Journal(folder).take(part(*range(6)))
    kept = (folder.path / "events.jsonl").read_text().splitlines()
    (folder.path / "events.jsonl").write_text("\n".join(kept[:2] + kept[3:] + kept[4:]) + "\n")
    journal = Journal(folder)
    told = journal.complete(part(*range(4)))
    assert len(told.entries) == 4
    assert [line["step"] for line in lines(folder)] == [0, 1, 2, 3]


class Line:
    """An event log that is killed now and then, between a worker and a driver that are as well."""

    def __init__(self, chance):
        self.chance, self.log, self.received = chance, EventLog(), 0

    def tell(self, message, attempt=""):
        return self if self.lost() else Answer(self.log.tell(message, attempt))

    def taken(self):
        return 0

    def require_driver(self):
        pass

    def lost(self):
        if self.chance.random() < 0.1:
            self.log = EventLog()
        return self.chance.random() < 0.1

    def pass_on(self, journal):
        if self.chance.random() < 0.3:
            for message in list(self.log.fetch(self.received, dict(journal.taken))):
                journal.take(message)
                self.received += 1


class Answer:
    def __init__(self, count):
        self.count = count

    def taken(self):
        return self.count


@pytest.mark.parametrize("seed", range(40))
def test_no_step_is_lost_or_told_twice_whoever_is_killed(folder, tmp_path, monkeypatch, seed):
    """Log, worker and driver die at random; then the file is that of a training that was left alone."""
    monkeypatch.setattr(worker_side, "PAUSE_SECONDS", 0.0)
    chance = random.Random(seed)
    line, journal = Line(chance), Journal(folder)
    history, checkpoint, number = History("guided", line), None, 0
    while number < STEPS:
        history.add(step(number, seconds=chance.random()))
        if number == 17:
            history.add(Warned("late"))
        number += 1
        line.pass_on(journal)
        if number % SAVED == 0:
            checkpoint = tmp_path / f"checkpoint_{number}"
            checkpoint.mkdir(exist_ok=True)
            save_histories(checkpoint, [history])
        if chance.random() < 0.08:  # the driver dies and takes all with it
            line, journal = Line(chance), Journal(folder)
        elif chance.random() > 0.08:
            continue
        entries = () if checkpoint is None else saved_histories(checkpoint)["guided"].entries
        history, number = History("guided", line, entries), len(steps_of(entries))
    told = journal.complete(history.whole())
    assert len(told.entries) <= STEPS + 1
    written = lines(folder)
    assert [entry["step"] for entry in written if "step" in entry] == list(range(STEPS))
    assert [entry.get("warning") for entry in written].index("late") == 18
    seconds = [entry["seconds"] for entry in written if "step" in entry]
    assert seconds == [
        event["seconds"] for event in steps_of(history.entries)
    ]  # of the run whose model it is
