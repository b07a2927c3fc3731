"""A training that has fitted its rows ends before max_steps: always at one step, and as if it had been cut there."""

import torch

from sgg_ray.training.checkpoint import load_checkpoint, save_checkpoint
from sgg_ray.training.early_stopping import STEPS, EarlyStopping

LIMIT = 0.3
FAST = {"max_steps": 80, "learning_rate": 1e-2, "logging_steps": 4, "save_steps": 7, "early_stopping": LIMIT}


def run(trainer, checkpoint=None) -> list[dict]:
    events = []
    trainer.run(events.extend, checkpoint)
    return events


def count(losses, limit=LIMIT) -> int:
    """How many steps at the end are in a row below the limit."""
    counter = EarlyStopping(limit)
    for loss in losses:
        counter.add({"loss": loss})
    return counter.in_a_row


def test_it_counts_steps_in_a_row():
    assert count([0.1] * 5) == 5
    assert count([0.1, 0.3, 0.1, 0.2]) == 2  # the limit itself is not below it
    assert count([0.1, float("nan"), 0.1]) == 1
    assert count([0.1] * 5, limit=None) == 0


def test_sources_count_while_they_are_mixed_in():
    counter = EarlyStopping(LIMIT)
    counter.add({"loss": 0.1, "source_loss": 0.2})
    assert counter.in_a_row == 1
    counter.add({"loss": 0.1, "source_loss": 0.5})
    assert counter.in_a_row == 0
    counter.add({"source_loss": 0.1})  # a phase without the target
    assert counter.in_a_row == 0


def test_it_ends_as_if_it_had_been_cut_there(make_trainer):
    early = make_trainer(used=(), weights={"none": 1.0}, train=FAST)
    events = run(early)
    assert STEPS < early.step < 80
    assert early.step % 4 == 0
    assert [event["step"] for event in events] == list(range(early.step))
    assert all(event["loss"] < LIMIT for event in events[-STEPS:])
    assert [event.get("ended_early", 0.0) for event in events] == [0.0] * (early.step - 1) + [1.0]
    whole = make_trainer(used=(), weights={"none": 1.0}, train={**FAST, "early_stopping": None})
    values = []

    def keep(events):
        values.append(whole.flat.values.clone())

    whole.run(keep)
    assert whole.step == 80
    assert torch.equal(values[early.step // 4 - 1], early.flat.values)


def test_a_training_that_has_not_fitted_goes_to_its_last_step(make_trainer):
    trainer = make_trainer(train={**FAST, "max_steps": 8})
    events = run(trainer)
    assert trainer.step == 8
    assert "ended_early" not in events[-1]


def test_it_ends_at_the_same_step_with_checkpoints_and_after_a_resume(make_trainer, tmp_path):
    def made():
        return make_trainer(used=(), weights={"none": 1.0}, train=FAST)

    alone, kept = made(), []
    events = run(alone)

    def checkpoint(trainer):
        folder = tmp_path / str(trainer.step)
        folder.mkdir()
        save_checkpoint(trainer, folder)
        kept.append((trainer.step, trainer.early_stopping.in_a_row))

    beside = made()
    assert len(run(beside, checkpoint)) == len(events)
    step, in_a_row = kept[-1]
    assert 0 < in_a_row < STEPS  # in the middle of counting
    resumed = made()
    load_checkpoint(resumed, tmp_path / str(step))
    rest = run(resumed)
    assert resumed.step == alone.step
    assert [event["loss"] for event in rest] == [event["loss"] for event in events[step:]]
    assert torch.equal(resumed.flat.values, alone.flat.values)
