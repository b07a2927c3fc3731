"""Look at, and kill, the processes of the session's Ray; hear what a run tells."""

import os
import signal
import subprocess
from collections.abc import Callable

import psutil

from sgg_ray.orchestration.listener import NullListener


def processes(title: str) -> list[psutil.Process]:
    """Processes of this test session's Ray whose title begins with ``ray::`` and ``title``."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command and command[0].startswith(f"ray::{title}"):
            found.append(process)
    return found


def all_end(title: str, seconds: float = 20) -> bool:
    """Whether no such process is left, or soon will be: Ray does not wait for those that it ends."""
    _, alive = psutil.wait_procs(processes(title), timeout=seconds)
    return not alive and not processes(title)


def kill(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def end_by_killing(driver: subprocess.Popen, name: str) -> int:
    """Kill ``gcs_server`` or ``raylet`` of a driver's own Ray; the driver's exit code, when nothing is left of it."""
    begun = psutil.Process(driver.pid).children(recursive=True)
    (victim,) = [process for process in begun if process.name() == name]
    kill(victim)
    code = driver.wait(60)
    # Where Ray 2.60 ends the driver before its watch does, the raylet's agents look for the GCS for minutes.
    _, alive = psutil.wait_procs(begun, timeout=240)
    assert not alive, [process.cmdline()[:1] for process in alive]
    return code


def require_ray_died(name: str, code: int, said: str) -> None:
    """The one line that a command ends with when Ray has died, and its exit code."""
    assert code == 1, said
    called = {"gcs_server": "GCS", "raylet": "raylet"}[name]
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    assert lines[0].startswith(f"error: Ray's {called} process has died"), said
    assert "give the same command again to go on" in lines[0]
    for trace in ("Traceback", "Failed to connect to GCS", "state-dump", "core_worker.cc"):
        assert trace not in said


class Recorder(NullListener):
    """Remembers what it was told, and can act at a step of the trainings whose name begins with ``of``."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None, of: str = "guided"):
        self.at, self.of = dict(at or {}), of
        self.notes: list[str] = []
        self.reports = []
        self.seen: dict[str, list[int]] = {}

    def note(self, text):
        self.notes.append(text)

    def scores(self, report):
        self.reports.append(report)

    def steps(self, run, events, total):
        self.seen.setdefault(run, []).extend(event["step"] for event in events)
        for step in [step for step in self.at if run.startswith(self.of) and self.seen[run][-1] >= step]:
            self.at.pop(step)()
