"""What workers tell the driver of a command. Each message is taken apart with ``match``; an unknown one is an error.

A training's *history* is the list of its entries: every step, every refresh of the scores, every warning, in order.
It is what ``events.jsonl`` holds of the training in the end, whatever was killed on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sgg_ray.alignment import AlignmentReport

if TYPE_CHECKING:  # an event log starts without PyTorch
    from sgg_ray.training import Event


@dataclass(frozen=True)
class StepDone:
    """An optimiser step: its number under ``step``, and its metrics."""

    values: Event


@dataclass(frozen=True)
class ScoresRefreshed:
    """New scores of the sources, whose weights the training has taken."""

    report: AlignmentReport


@dataclass(frozen=True)
class Warned:
    """Something that the user should know of, such as scores that are late."""

    text: str


@dataclass(frozen=True)
class StrategyChosen:
    """What strategy ``auto`` decided, on which evidence, and the same in words."""

    choice: Mapping[str, Any]
    text: str


Entry = StepDone | ScoresRefreshed | Warned | StrategyChosen


@dataclass(frozen=True)
class Recorded:
    """A part of a training's history.

    Args:
        run: which training, such as ``guided``.
        attempt: which process tells it; another one after a restart, whose history then replaces that of the last.
        first: number of the first of ``entries`` in the history, from 0.
        entries: in order.
    """

    run: str
    attempt: str
    first: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class RowsPredicted:
    """How many of the test rows ``run`` has predicted."""

    run: str
    done: int
    total: int


@dataclass(frozen=True)
class CalibrationProgress:
    """Steps of a training that leaves out a part of the shots. They are shown and not kept."""

    run: str
    events: tuple[Event, ...]


@dataclass(frozen=True)
class TrialBegan:
    """A trial of a sweep has begun, with these values of the searched keys."""

    trial: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TrialReported:
    """What the trainings of a trial came to so far; ``failure`` in words if it has ended early."""

    trial: str
    trainings: tuple[Mapping[str, Any], ...]
    failure: str


Message = Recorded | RowsPredicted | CalibrationProgress | TrialBegan | TrialReported


def to_line(entry: Entry) -> dict[str, Any]:
    """The entry as plain values: a line of ``events.jsonl`` but for the name of its run."""
    match entry:
        case StepDone(values):
            return dict(values)
        case ScoresRefreshed(report):
            return {"scores": report.to_dict()}
        case Warned(text):
            return {"warning": text}
        case StrategyChosen(choice, text):
            return {"choice": dict(choice), "text": text}


def from_line(line: Mapping[str, Any]) -> Entry:
    """The entry that :func:`to_line` made ``line`` of.

    Raises:
        ValueError: it is of none.
    """
    match line:
        case {"scores": dict() as report}:
            return ScoresRefreshed(AlignmentReport.from_dict(report))
        case {"warning": str() as text}:
            return Warned(text)
        case {"choice": dict() as choice, "text": str() as text}:
            return StrategyChosen(choice, text)
        case {"step": int() | float()}:
            return StepDone(dict(line))
    raise ValueError(f"not an entry of a training's history: {str(line)[:80]}")


def steps_of(entries: Sequence[Entry]) -> list[Event]:
    """The metrics of those entries that are steps."""
    return [entry.values for entry in entries if isinstance(entry, StepDone)]
