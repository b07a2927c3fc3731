"""Is one set of predictions better than another on the same rows?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class PairedComparison:
    """Accuracy of the predictions minus that of the baseline on the same rows, in [−1, 1]."""

    difference: float
    low: float
    high: float
    p_value: float  # exact McNemar: how often rows alone would make a difference as large
    gained: int  # rows that only the predictions have right
    lost: int  # rows that only the baseline has right
    rows: int

    @property
    def verdict(self) -> Literal["better", "no difference shown", "worse"]:
        """What the interval shows."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"

    def to_dict(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)

    def gains(self) -> dict[str, float]:
        """The difference, under ``accuracy``."""
        return {"accuracy": self.difference}


def compare_paired(
    predictions: np.ndarray,
    baseline: np.ndarray,
    labels: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare predictions [n] with a baseline's [n] on the same rows: difference of accuracy, interval, test.

    The interval is the percentile bootstrap over rows. A row adds +1, 0 or −1 to the difference, so
    resampling n rows is one draw from a multinomial with three outcomes, whatever n is. McNemar's test is
    exact: are the rows on which just one of the two is right split evenly (binomial, two-sided)?

    Raises ValueError when the three arrays do not have one common length, or have no rows.
    """
    from scipy.stats import binomtest

    predictions, baseline, labels = map(np.asarray, (predictions, baseline, labels))
    if labels.ndim != 1 or not predictions.shape == baseline.shape == labels.shape or len(labels) == 0:
        shapes = f"{predictions.shape}, {baseline.shape}, {labels.shape}"
        raise ValueError(f"expected three vectors of one length and at least one row, found {shapes}")
    rows = len(labels)
    right, right_before = predictions == labels, baseline == labels
    gained, lost = int((right & ~right_before).sum()), int((right_before & ~right).sum())
    shares = np.array([gained, lost, rows - gained - lost]) / rows
    draws = np.random.default_rng(seed).multinomial(rows, shares, size=resamples)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile((draws[:, 0] - draws[:, 1]) / rows, [tail, 100.0 - tail])
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return PairedComparison((gained - lost) / rows, float(low), float(high), p_value, gained, lost, rows)
