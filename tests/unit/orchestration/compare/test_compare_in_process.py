"""A comparison from end to end without processes: real cells, the record they leave, and how it goes on from there."""

import errno
import json

import numpy as np
import pytest
import toy

from sgg_ray.config import Config
from sgg_ray.orchestration.compare.compare_driver import compare
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor

pytestmark = pytest.mark.usefixtures("database")
OFF = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}
FULL = {"name": "full", "guidance": OFF}
PROBE = {"name": "probe", "guidance": OFF, "model": {"trainable": "heads"}}
BROKEN = {"name": "broken", "guidance": OFF, "train": {"learning_rate": 1e30, "head_learning_rate": 1e30}}


class Heard(NullListener):
    """Remembers what it was told; interrupts when so many cells are done."""

    def __init__(self, stop_at=None):
        self.stop_at, self.notes, self.done = stop_at, [], []

    def note(self, text):
        self.notes.append(text)

    def advance(self, done, total, what, text=""):
        self.done.append((done, total))
        if done == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture
def run(make_config):
    def start(listener=None, strategies=(FULL, PROBE), **changes):
        common = {
            "train": {"max_steps": 2},
            "ray": {"cpus_per_worker": 1},
            "compare": {"strategies": list(strategies), "seeds": 1, "shots": [4], "baseline": "full"},
        }
        config: Config = make_config(**toy.merged(common, changes))
        return compare(config, listener, InProcessExecutor([Resources(cpus=2)]))

    return start


def test_an_interrupted_comparison_goes_on_with_the_cells_that_are_missing(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(Heard(stop_at=1), compare={"seeds": 2})
    folder = tmp_path / "runs" / "toy"
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    assert len(before) == 1
    assert json.loads((folder / "compare.json").read_text())["missing"] == 3
    assert "3 cells are missing" in (folder / "compare.md").read_text()
    heard = Heard()
    result = run(heard, compare={"seeds": 2})
    assert "1 finished cells are kept" in heard.notes
    assert heard.done == [(done, 4) for done in range(2, 5)]
    assert len(result.cells) == result.total == 4
    assert (result.comparison.missing, result.comparison.failures) == (0, {})
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


def test_a_failing_strategy_is_told_and_does_not_sink_the_grid(run):
    heard = Heard()
    result = run(heard, (FULL, BROKEN), sources=[], train={"max_steps": 30, "warmup_ratio": 0.0})
    assert [cell.strategy for cell in result.cells] == ["full"]
    ((name, reason),) = result.comparison.failures.items()
    assert name == "broken on target, 4 shots, seed 0"
    assert "gradient that was not finite" in reason
    assert "broken on target" in (result.folder / "compare.md").read_text()
    assert "gradient that was not finite" in (result.folder / "report.html").read_text()
    assert sum("retrying" in note for note in heard.notes) == 1  # the same reason is told once
    assert sum(note.startswith(f"{name} failed: ") for note in heard.notes) == 1


@pytest.mark.slow
def test_strategies_of_an_encoder_decoder_model(run, t5):
    few = {
        "name": "t-few",
        "guidance": OFF,
        "model": {"adapter": {"peft_type": "ia3"}},
        "train": {"loss": "t_few"},
    }
    zero = {"name": "zero-shot", "guidance": OFF, "train": {"method": "zero_shot"}}
    shown = {"name": "in-context", "guidance": OFF, "train": {"method": "in_context", "context_length": 128}}
    heard = Heard()
    result = run(
        heard, (FULL, {"name": "sgg"}, few, zero, shown), model={"path": str(t5)}, train={"max_length": 32}
    )
    assert not result.comparison.failures, heard.notes
    assert {cell.strategy for cell in result.cells} == {"full", "sgg", "t-few", "zero-shot", "in-context"}


def test_a_report_that_finds_the_disk_full_is_written_the_next_time(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sgg_ray.orchestration.compare.comparison_report.plot_shots", full)
        with pytest.raises(OSError, match="No space left on device"):
            run(strategies=[FULL], sources=[])
    record = tmp_path / "runs" / "toy" / "run.json"
    assert json.loads(record.read_text())["status"] == "failed"
    heard = Heard()
    assert len(run(heard, [FULL], sources=[]).cells) == 1
    assert "1 finished cells are kept" in heard.notes
    assert json.loads(record.read_text())["status"] == "finished"


def test_targets_take_turns_and_unseen_tasks_are_only_predicted(run, data):
    clean = str(data / "clean.jsonl")
    result = run(
        strategies=[FULL],
        sources=[{"name": "clean", "path": clean}, {"name": "copy", "path": clean}],
        compare={
            "targets": ["target", "clean"],
            "exclude_together": [["clean", "copy"]],
            "unseen": ["copy"],
        },
    )
    crossed = {cell.target: cell.cross_task for cell in result.cells}
    assert np.isfinite(crossed["target"])  # of copy, with the target's labels
    assert np.isnan(crossed["clean"])  # its unseen task is kept apart from it
