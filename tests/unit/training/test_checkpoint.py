"""A resumed training is the uninterrupted one; a damaged checkpoint is one line."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sgg_ray.errors import CheckpointError, TrainingError
from sgg_ray.training import check_checkpoint, load_checkpoint, save_checkpoint
from sgg_ray.training.checkpoint import STATE
from sgg_ray.training.throughput import TIMED

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1}
GUIDANCE = {
    "all terms": TERMS,
    "first order": {**TERMS, "hvp": "first_order"},
    "no terms": {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0},
}


@pytest.fixture
def saved(make_trainer, tmp_path):
    """A checkpoint after two steps."""
    trainer = make_trainer(train={"max_steps": 2})
    trainer.run()
    save_checkpoint(trainer, tmp_path)
    return tmp_path


@pytest.mark.parametrize("guidance", GUIDANCE.values(), ids=GUIDANCE)
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(make_trainer, tmp_path, guidance):
    def numbers(events):
        timeless = [{key: value for key, value in e.items() if key not in TIMED} for e in events]
        return repr(timeless)  # nan equals nan there

    whole_events, resumed_events = [], []
    whole = make_trainer(guidance=guidance)
    folders = []

    def keep(trainer):
        folders.append(tmp_path / str(trainer.step))
        folders[-1].mkdir()
        save_checkpoint(trainer, folders[-1])

    whole.run(whole_events.extend, keep, checkpoint_wanted=lambda: whole.step == 5)
    assert [folder.name for folder in folders] == ["3", "5", "6"]  # every save_steps, and when one is wanted
    for folder in folders:
        resumed_events.clear()
        resumed = make_trainer(guidance=guidance)
        torch.rand(11)
        load_checkpoint(resumed, folder)
        assert resumed.step == int(folder.name)
        resumed.run(resumed_events.extend)
        assert torch.equal(resumed.flat.values, whole.flat.values)
        for name, value in whole.guidance.state_dict().items():
            assert torch.equal(value, resumed.guidance.state_dict()[name]), name
        assert numbers(resumed_events) == numbers(whole_events[int(folder.name) :])


def test_weights_and_counters_are_kept(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.weights = {"clean": 0.75, "flipped": 0.25}
    losses = trainer.model.losses
    trainer.model.losses = lambda batch: losses(batch) * float("nan")
    for _ in range(6):
        trainer._step()
        trainer.step += 1
    save_checkpoint(trainer, tmp_path)
    resumed = make_trainer()
    load_checkpoint(resumed, tmp_path)
    assert resumed.weights == {"clean": 0.75, "flipped": 0.25}
    assert (int(resumed.skipped), int(resumed.skipped_in_a_row)) == (6, 6)


def test_skipped_steps_in_a_row_add_up_over_a_resume(make_trainer, tmp_path):
    def broken(**changes):
        trainer = make_trainer(**changes)
        losses = trainer.model.losses
        trainer.model.losses = lambda batch: losses(batch) * float("nan")
        return trainer

    first = broken(train={"max_steps": 6})
    first.run()
    save_checkpoint(first, tmp_path)
    second = broken(train={"max_steps": 12})
    load_checkpoint(second, tmp_path)
    with pytest.raises(TrainingError, match="10 steps in a row"):
        second.run()


def test_a_failing_write_leaves_the_old_checkpoint(make_trainer, saved, monkeypatch):
    before = (saved / STATE).read_bytes()
    trainer = make_trainer()

    def fails(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("sgg_ray.training.checkpoint_file.save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(trainer, saved)
    assert (saved / STATE).read_bytes() == before


@pytest.mark.parametrize("damage", ["torn", "empty", "noise", "missing", "foreign", "lacks values"])
def test_a_damaged_checkpoint_is_one_line(make_trainer, saved, damage):
    path = saved / STATE
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "noise":
        path.write_bytes(b"noise" * 1000)
    elif damage == "missing":
        path.unlink()
    elif damage == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        metadata = {"step": "2", "weights": "{}", "parameters": "[]"}
        save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(make_trainer(), saved)
    (line,) = caught.value.problems
    with pytest.raises(CheckpointError, match="trainer"):
        check_checkpoint(saved)
    assert str(path) in line
    assert "\n" not in line
    assert "--name" in line


def test_a_checkpoint_of_another_model_is_refused(make_trainer, saved):
    other = make_trainer(model={"adapter": {"peft_type": "lora", "r": 2}})
    before = other.flat.values.clone()
    with pytest.raises(CheckpointError, match="other parameters"):
        load_checkpoint(other, saved)
    assert torch.equal(other.flat.values, before)


def test_a_flipped_byte_anywhere_is_noticed(saved):
    file = saved / STATE
    content = file.read_bytes()
    for place in np.linspace(0, len(content) - 1, 41).astype(int):
        flipped = bytearray(content)
        flipped[place] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="cannot be read"):
            check_checkpoint(saved)
    file.write_bytes(content)
    check_checkpoint(saved)
