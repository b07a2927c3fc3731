"""How far the best of many is above the others, when it was chosen for being the best on these very rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

RESAMPLES = 1000
NO_SPREAD = 1e-9  # of the mean: differences below it are of rounding


@dataclass(frozen=True)
class Difference:
    """How much smaller the mean loss (or error rate) of the best is than another's, on the same rows."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def gains_of_best(
    badness: Sequence[np.ndarray], confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[Difference]:
    """Intervals of the first one's gain over each other that hold together, whichever came out best.

    Each difference of two is studentised; the largest of all pairs in bootstrap samples of the rows, centred at the
    differences found, gives one critical value c, and the intervals are d ± c·s/√n (single-step max-t of Romano and
    Wolf 2005; of all pairs, since any of them might have been the best: Hsu 1996). With two there is one pair, and the
    interval is the bootstrap-t.

    Args:
        badness: what is to be small of each row [n], the best first, then the others.
        confidence: that all intervals hold.
        resamples: bootstrap samples.
        seed: of the samples.

    Raises:
        ValueError: the rows are not the same, or fewer than two.
    """
    rows = {len(values) for values in badness}
    if len(rows) != 1 or min(rows) < 2:
        raise ValueError(f"expected the same rows, two at least, found {sorted(rows)}")
    values = np.stack(badness, axis=1)  # [n, K]
    n = len(values)
    mean, error = _differences(values)
    pairs = list(combinations(range(values.shape[1]), 2))
    spread = error > NO_SPREAD * (np.abs(mean) + NO_SPREAD)
    largest = np.zeros(resamples)
    random = np.random.default_rng(seed)
    for number in range(resamples):
        again, own_error = _differences(values[random.integers(n, size=n)])
        usable = spread & (own_error > 1e-6 * error)
        if usable.any():
            largest[number] = (np.abs(again - mean)[usable] / own_error[usable]).max()
    critical = float(np.quantile(largest, confidence))
    found = []
    for place, (first, _) in enumerate(pairs):
        if first == 0:
            reach = critical * error[place] if spread[place] else 0.0
            found.append(
                Difference(float(mean[place]), float(mean[place] - reach), float(mean[place] + reach))
            )
    return found


def _differences(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the differences of all pairs of columns of [n, K] and their standard errors, [K(K−1)/2] each."""
    n, count = values.shape
    centred = values - values.mean(axis=0)
    covariance = centred.T @ centred / (n - 1)
    variance = np.diag(covariance)
    first, second = np.triu_indices(count, 1)
    mean = values.mean(axis=0)
    spread = variance[first] + variance[second] - 2 * covariance[first, second]
    return mean[second] - mean[first], np.sqrt(np.maximum(spread, 0.0) / n)
