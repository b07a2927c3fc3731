"""Percentile bootstrap over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1_000


@dataclass(frozen=True)
class Interval:
    """A value, often a difference on the same rows, with its interval."""

    difference: float
    low: float
    high: float


def bootstrap_interval(
    rows: int, statistic: Callable[[np.ndarray], float], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """A statistic of all rows, and its percentile interval over resampled rows.

    Args:
        rows: how many there are, at least one.
        statistic: from positions of rows [n] to a number.
    """
    random = np.random.default_rng(seed)
    drawn = [statistic(random.integers(rows, size=rows)) for _ in range(RESAMPLES)]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return Interval(float(statistic(np.arange(rows))), float(low), float(high))
