"""Commands as people run them, in a process of their own: how they end, and that nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PIPELINES = Path(__file__).parents[2] / "pipelines"
MARK = "SGG_TEST_MARK"


class Command:
    """A pipeline script in a process of its own. All that it starts carries a mark in its environment."""

    def __init__(self, verb: str, *arguments: str | Path, cwd: Path):
        self.mark = uuid.uuid4().hex
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_ADDRESS")}
        self.process = subprocess.Popen(
            [sys.executable, PIPELINES / f"{verb}.py", *arguments],
            env={**environment, MARK: self.mark},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Shells start what runs in the background with interrupts ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def end(self, seconds: float = 240) -> tuple[int, str, str]:
        """Wait for the end: exit code, stdout, stderr."""
        stdout, stderr = self.process.communicate(timeout=seconds)
        return self.process.returncode, stdout, stderr

    def left(self) -> list[str]:
        """What is still running of all that it started, once that had half a minute to end."""
        deadline = time.monotonic() + 30
        while (found := self._marked()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def _marked(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:100])
            except psutil.Error:
                continue
        return found


def test_an_interrupted_run_goes_on_under_its_name(write_config, tmp_path):
    # Long enough not to be over before the signal arrives, however late the first checkpoint is seen.
    steps = {"max_steps": 150, "save_steps": 10, "logging_steps": 1, "baseline": False}
    config = write_config(train=steps, ray={"task_workers": 1})
    folder = tmp_path / "runs" / "toy"

    command = Command("train", config, cwd=tmp_path)
    deadline = time.monotonic() + 300  # starting everything, on a machine that others use
    while not (folder / "ray_train" / "checkpoint_manager_snapshot.json").exists():
        assert command.process.poll() is None, command.end()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    command.process.send_signal(signal.SIGINT)
    code, _, stderr = command.end(150)
    assert code == 130, stderr
    step = int(re.fullmatch(r"interrupted; the same command goes on from step (\d+)\n", stderr)[1])
    assert 10 <= step < steps["max_steps"]
    assert "Traceback" not in stderr
    assert command.left() == []
    scores = (folder / "scores.json").read_bytes()

    again = Command("train", config, "--json", cwd=tmp_path)
    code, stdout, stderr = again.end()
    assert code == 0, stderr
    result = json.loads(stdout)
    assert Path(result["folder"]).resolve() == folder
    assert (folder / "scores.json").read_bytes() == scores  # not scored again
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    seen = [event["step"] for event in events if "step" in event]
    assert set(seen) == set(range(steps["max_steps"]))  # none is lost
    assert seen.count(0) == 1  # and training did not start again
    assert again.left() == []
