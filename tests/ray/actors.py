"""Look at, and kill, the processes of the session's Ray; hear what a run tells."""

import os
import signal
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


class Recorder(NullListener):
    """Remembers what it was told, and can act at a training step."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None):
        self.at = dict(at or {})
        self.notes: list[str] = []
        self.reports = []
        self.seen: dict[str, list[int]] = {}

    def note(self, text):
        self.notes.append(text)

    def scores(self, report):
        self.reports.append(report)

    def steps(self, run, events, total):
        self.seen.setdefault(run, []).extend(event["step"] for event in events)
        for step in [step for step in self.at if run == "guided" and self.seen[run][-1] >= step]:
            self.at.pop(step)()
