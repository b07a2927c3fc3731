"""What orchestration tells whoever started it while work goes on."""

from collections.abc import Sequence
from typing import Protocol

from sgg_ray.alignment import AlignmentReport
from sgg_ray.training import Event


class Listener(Protocol):
    """Receives the progress of a command: stages, counts, training steps, scores and notes."""

    def stage(self, text: str) -> None:
        """A new stage of the work has begun."""
        ...

    def advance(self, done: int, total: int, what: str, text: str = "") -> None:
        """``done`` of ``total`` pieces of the current stage are finished; ``text`` says more."""
        ...

    def standings(self, rows: Sequence[tuple[str, int, int, str]]) -> None:
        """How far each of several is, and how it does: (name, done, total, text)."""
        ...

    def steps(self, run: str, events: list[Event], total: int) -> None:
        """New training steps of ``run``, of ``total``."""
        ...

    def scores(self, report: AlignmentReport) -> None:
        """The sources have been scored."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know, such as rows that were dropped."""
        ...


class NullListener:
    """A listener that ignores everything."""

    def stage(self, text: str) -> None:
        """Ignore."""

    def advance(self, done: int, total: int, what: str, text: str = "") -> None:
        """Ignore."""

    def standings(self, rows: Sequence[tuple[str, int, int, str]]) -> None:
        """Ignore."""

    def steps(self, run: str, events: list[Event], total: int) -> None:
        """Ignore."""

    def scores(self, report: AlignmentReport) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
