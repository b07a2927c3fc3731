"""Progress of a command: one live display on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.table import Column
from rich.text import Text

from sgg_ray.alignment import AlignmentReport
from sgg_ray.report.console import print_line
from sgg_ray.report.tables import print_scores

_PLAIN_SECONDS = 5.0  # at least this long between two plain lines of one piece of work
_STANDINGS_SECONDS = 30.0  # of one line about all strategies of a comparison

# What a training line shows, as far as the events have it.
_SHOWN = {
    "loss": "loss {:.3f}",
    "source_loss": "source {:.3f}",
    "accuracy": "accuracy {:.3f}",
    "gradient_norm": "‖g‖ {:.2f}",
    "alignment_cosine": "cos {:+z.2f}",
    "penalty": "penalty {:.3f}",
}


class _Bars(Progress):
    """Bars of the current stage; while it has none, a clock that shows that it is being worked on."""

    def __init__(self, console: Console):
        self._clock = Spinner("dots")
        self._started = time.monotonic()
        self._over = False
        super().__init__(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=24),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(
                compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True, min_width=5)
            ),
            # On a narrow terminal the numbers are cut, and not what tells how far the work is.
            TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True, ratio=1)),
            console=console,
            expand=True,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.tasks:
            yield self.make_tasks_table(self.tasks)
        elif not self._over:
            self._clock.update(text=Text(f"{time.monotonic() - self._started:.0f} s"))
            yield self._clock

    def stop(self) -> None:
        self._over = True
        super().stop()


class ProgressDisplay:
    """Shows stages, counts and training steps while they happen; use it as a context manager.

    Its methods are what orchestration tells a listener.
    """

    def __init__(self, console: Console):
        self.console = console
        self._live = console.is_terminal
        self._progress = _Bars(console)
        self._bars: dict[str, TaskID] = {}
        self._printed: dict[str, float] = {}
        self._skipped: dict[str, int] = {}

    def __enter__(self) -> ProgressDisplay:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def stage(self, text: str) -> None:
        """A new stage of the work has begun."""
        if not self._live:
            print_line(self.console, text, style="bold")
            return
        # The bars of the last stage stay on the screen above this line; new work gets bars of its own below.
        self._progress.stop()
        self._bars.clear()
        print_line(self.console, text, style="bold")
        self._progress = _Bars(self.console)
        self._progress.start()

    def advance(self, done: int, total: int, what: str, text: str = "") -> None:
        """``done`` of ``total`` pieces of the current stage are finished; ``text`` says more."""
        self._show(what, done, total, text)

    def standings(self, rows: Sequence[tuple[str, int, int, str]]) -> None:
        """How far each of several is, and how it does: a bar each on a terminal, else one line now and then."""
        if self._live:
            for name, done, total, text in rows:
                self._show(name, done, total, text)
            return
        now = time.monotonic()
        over = all(done == total for _, done, total, _ in rows)
        if not over and now - self._printed.get("standings", -math.inf) < _STANDINGS_SECONDS:
            return
        self._printed["standings"] = now
        print_line(self.console, "  ".join(f"{name} {text}" for name, _, _, text in rows if text))

    def steps(self, run: str, events: Sequence[Mapping[str, Any]], total: int) -> None:
        """New training steps of ``run``, which count from 0, of ``total``."""
        if not events:
            return
        self._skipped[run] = self._skipped.get(run, 0) + sum(bool(event.get("skipped")) for event in events)
        text = training_line(events[-1])
        if self._skipped[run]:
            text += f"  {self._skipped[run]} skipped"
        done = int(events[-1]["step"]) + 1
        if events[-1].get("ended_early"):
            text += f"  fitted: ends {total - done} steps early"
            total = done
        left = (total - done) * float(events[-1].get("seconds") or 0.0)
        if left >= 1 and not self._live:  # a bar shows it by itself
            text += f"  {left:.0f} s left"
        self._show(run, done, total, text)

    def scores(self, report: AlignmentReport) -> None:
        """The sources have been scored."""
        print_scores(self.console, report)

    def note(self, text: str) -> None:
        """Something that the user should know, such as rows that were dropped."""
        print_line(self.console, text, style="yellow")

    def _show(self, name: str, done: int, total: int, text: str) -> None:
        if self._live:
            if name not in self._bars:
                self._bars[name] = self._progress.add_task(name, total=total, text="")
            self._progress.update(self._bars[name], completed=done, total=total, text=text)
            return
        now = time.monotonic()
        if done < total and now - self._printed.get(name, -math.inf) < _PLAIN_SECONDS:
            return
        self._printed[name] = now
        print_line(self.console, f"{name} {done}/{total}  {text}".rstrip())


def training_line(event: Mapping[str, Any]) -> str:
    """The numbers of one training step, in one line."""
    parts = []
    for name, form in _SHOWN.items():
        value = event.get(name)
        if value is not None and math.isfinite(value):
            parts.append(form.format(value))
    return "  ".join(parts)
