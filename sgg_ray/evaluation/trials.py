"""Which trial of a sweep is best on the held-out shots, and which others cannot be told from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sgg_ray.evaluation.selection import Difference, gains_of_best

Monitor = Literal["loss", "accuracy"]


@dataclass(frozen=True)
class Trial:
    """One setting of a sweep and how its trainings did.

    A training leaves out a part of the shots and is judged on that part. All trials of a sweep leave out the same
    parts in the same order, so their rows can be compared in pairs.
    """

    number: int
    values: Mapping[str, Any]  # what was tried, by dotted key
    status: Literal["finished", "stopped", "failed", "unfinished"]
    losses: Sequence[Sequence[float]] = ()  # cross-entropy of each held-out row in nats, a list a training
    correct: Sequence[Sequence[bool]] = ()  # of each held-out row, a list a training
    seconds: float = 0.0
    note: str = ""
    own: bool = field(default=False)  # the file's own values

    @property
    def loss(self) -> float:
        """Mean cross-entropy over all held-out rows; NaN without any."""
        return _mean(self.losses)

    @property
    def accuracy(self) -> float:
        """Accuracy over all held-out rows, from 0 to 1; NaN without any."""
        return _mean(self.correct)

    def spread(self, monitor: Monitor) -> float:
        """Standard deviation of the trainings' means; NaN for fewer than two."""
        means = [float(np.mean(rows)) for rows in self._rows(monitor)]
        return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")

    def badness(self, monitor: Monitor) -> np.ndarray:
        """What is to be small, for each held-out row [rows]: its loss, or whether it is wrong."""
        flat = np.concatenate(
            [np.asarray(rows, dtype=float) for rows in self._rows(monitor)] or [np.empty(0)]
        )
        return flat if monitor == "loss" else 1.0 - flat

    def _rows(self, monitor: Monitor) -> Sequence[Sequence[float]]:
        return self.losses if monitor == "loss" else self.correct


def ranked(trials: Sequence[Trial], monitor: Monitor) -> list[Trial]:
    """Finished trials, best first; then the others, those with most trainings first."""

    def order(trial: Trial) -> tuple[bool, float, float, int]:
        rows = trial.badness(monitor)
        done = trial.status == "finished"
        return not done, 0.0 if done else -len(rows), rows.mean() if len(rows) else np.inf, trial.number

    return sorted(trials, key=order)


def gains_of_first(trials: Sequence[Trial], monitor: Monitor) -> dict[int, Difference]:
    """By number, how much better the best finished trial is than each other finished one.

    The intervals are paired by held-out row, and account for its having been chosen as the best of all: see
    :func:`gains_of_best`.

    Raises ValueError when the trials do not have the same rows, or fewer than two.
    """
    finished = [trial for trial in ranked(trials, monitor) if trial.status == "finished"]
    if len(finished) < 2:
        return {}
    gains = gains_of_best([trial.badness(monitor) for trial in finished])
    return {trial.number: gain for trial, gain in zip(finished[1:], gains)}


def within_noise(trials: Sequence[Trial], monitor: Monitor) -> list[Trial]:
    """The best finished trial and those finished ones that are not clearly worse, best first."""
    finished = [trial for trial in ranked(trials, monitor) if trial.status == "finished"]
    gains = gains_of_first(trials, monitor)
    return [trial for trial in finished if trial is finished[0] or not gains[trial.number].is_clear]


def _mean(parts: Sequence[Sequence[float]]) -> float:
    rows = [value for part in parts for value in part]
    return float(np.mean(rows)) if rows else float("nan")
