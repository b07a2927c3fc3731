"""A run of strategy auto that is stopped goes on where it was: no member that has ended is trained again."""

import shutil

import average_worker
import numpy as np
import pytest
import torch
from torch import multiprocessing

from sgg_ray.errors import CheckpointError
from sgg_ray.models import save_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training import Hooks, check_training_state, run_training

CPU = torch.device("cpu")
STEPS, MOMENTS = (
    4,
    5,
)  # each of three members has a checkpoint in its middle, and the first two one at their end


class Stopped(Exception):
    pass


class Run:
    """A training of three members that remembers who trained which steps, and is stopped after a checkpoint."""

    def __init__(self, make_config, **changes):
        train = {"method": "auto", "max_steps": STEPS, "save_steps": 2, "logging_steps": 1}
        self.config = make_config(train={**train, **changes.pop("train", {})}, **changes)
        self.target, self.sources = load_tasks(self.config)
        self.told: list[tuple[str, int]] = []

    def train(self, folder=None, stop_after=None, resume_from=None):
        done = 0

        def checkpoint(state):
            nonlocal done
            done += 1
            if done == stop_after:
                folder.mkdir()
                state.save(folder)
                raise Stopped

        def steps_of(member):
            return lambda events: self.told.extend((member, int(event["step"])) for event in events)

        hooks = Hooks(
            on_events=steps_of("first"),
            of_member=lambda name: Hooks(on_events=steps_of(name)),
            checkpoint=checkpoint,
            resume_from=resume_from,
        )
        return run_training(self.config, self.target, self.sources, {"clean": 0.4}, CPU, hooks=hooks)

    def stopped(self, folder, moment):
        with pytest.raises(Stopped):
            self.train(folder, stop_after=moment)
        return folder


@pytest.fixture
def run(make_config):
    return Run(make_config)


def require_same(found, whole, config, target, folder):
    assert found.choice == whole.choice
    assert found.weights == whole.weights
    assert (found.skipped_steps, found.trainable) == (whole.skipped_steps, whole.trainable)
    assert found.array.dtype == whole.array.dtype
    np.testing.assert_array_equal(found.array, whole.array)
    written = []
    for place, outcome in (("found", found), ("whole", whole)):
        (folder / place).mkdir()
        save_model(outcome.model, folder / place, base=config.model.path, target_head=target.head)
        paths = sorted(path for path in (folder / place).rglob("*") if path.is_file())
        written.append({str(path.relative_to(folder / place)): path.read_bytes() for path in paths})
    assert written[0] == written[1]


@pytest.mark.parametrize("moment", range(1, MOMENTS + 1))
def test_a_stopped_average_goes_on_bit_for_bit(run, make_config, tmp_path, moment):
    whole = run.train()
    every = run.told
    assert len({member for member, _ in every}) == 3
    again = Run(make_config)
    folder = again.stopped(tmp_path / "checkpoint", moment)
    check_training_state(folder)
    assert again.told == every[: 2 * moment]  # what was told before the checkpoint is not told again
    found = again.train(resume_from=folder)
    assert again.told == every
    require_same(found, whole, run.config, run.target, tmp_path)


def test_a_checkpoint_that_is_wanted_is_kept_of_any_member(run):
    kept, wishes = [], iter([False] * (STEPS + 2) + [True])  # after step 3 of the second member

    def checkpoint(state):
        kept.append((len(state.ended), state.step))

    hooks = Hooks(checkpoint=checkpoint, checkpoint_wanted=lambda: next(wishes, False))
    run_training(run.config, run.target, run.sources, {"clean": 0.4}, CPU, hooks=hooks)
    assert kept == [(0, 2), (1, 0), (1, 2), (1, 3), (2, 0), (2, 2)]


def test_members_with_adapters_go_on_bit_for_bit(make_config, tmp_path):
    changes = {"model": {"adapter": {"peft_type": "lora", "r": 4}}}
    run = Run(make_config, **changes)
    whole = run.train()
    again = Run(make_config, **changes)
    found = again.train(resume_from=again.stopped(tmp_path / "checkpoint", 3))
    assert again.told == run.told
    require_same(found, whole, run.config, run.target, tmp_path)


@pytest.mark.parametrize("moment", range(1, MOMENTS + 1))
def test_whatever_is_missing_from_a_checkpoint_is_noticed(run, tmp_path, moment):
    folder = run.stopped(tmp_path / "checkpoint", moment)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == [1, 1, 2, 2, 3][moment - 1]
    if moment == 4:  # nothing but the second member's file says that it has ended
        files = files[:1]
    for path in files:
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(CheckpointError):
            check_training_state(folder)
        with pytest.raises(CheckpointError):
            run.train(resume_from=folder)
        path.write_bytes(kept)
    check_training_state(folder)


@pytest.mark.parametrize("where", [100, -100, 0.5])
def test_a_damaged_member_is_refused(run, tmp_path, where):
    folder = run.stopped(tmp_path / "checkpoint", 2)
    path = folder / "member-0.safetensors"
    content = bytearray(path.read_bytes())
    place = int(where * len(content)) if isinstance(where, float) else where
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        check_training_state(folder)
    with pytest.raises(CheckpointError, match="cannot be read"):
        run.train(resume_from=folder)


def test_a_member_of_another_strategy_is_refused(run, tmp_path):
    folder = run.stopped(tmp_path / "checkpoint", 4)
    first, second = folder / "member-0.safetensors", folder / "member-1.safetensors"
    shutil.move(first, folder / "kept")
    shutil.move(second, first)
    shutil.move(folder / "kept", second)
    with pytest.raises(CheckpointError, match="belongs to another strategy"):
        run.train(resume_from=folder)


def test_a_checkpoint_of_a_single_training_is_no_averages(run, make_config, tmp_path):
    single = Run(make_config, train={"budget": 1})
    folder = single.stopped(tmp_path / "single", 1)
    with pytest.raises(CheckpointError, match="lacks member-0"):
        run.train(resume_from=folder)
    with pytest.raises(CheckpointError, match="cannot be read"):
        single.train(resume_from=run.stopped(tmp_path / "average", 2))


@pytest.mark.slow
def test_two_workers_go_on_with_the_second_member(run, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    arguments = (tmp_path, 3, run.config, run.target, run.sources)
    multiprocessing.spawn(average_worker.worker, arguments, nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    every = list(range(STEPS)) * 3
    assert first["told"] == [every, every[STEPS + 2 :]]
    assert second["told"] == [[], []]
    for found in (first, second):
        np.testing.assert_array_equal(found["resumed"], first["whole"])
