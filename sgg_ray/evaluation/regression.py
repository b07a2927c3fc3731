"""How good predicted numbers are: mean absolute error, root mean squared error, rank correlation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sgg_ray.evaluation.resampling import Interval, bootstrap_interval


@dataclass(frozen=True)
class RegressionMetrics:
    """Errors and rank correlation of a model's numbers on one test split."""

    mae: float  # mean |predicted − true|, in the numbers' unit
    mae_low: float
    mae_high: float
    rmse: float
    spearman: float  # rank correlation in [−1, 1]; 0 where the model says one number for all
    spearman_low: float
    spearman_high: float
    constant_mae: (
        float  # of one number for all rows, their median: the least that knowing nothing of the texts gives
    )
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)

    def numbers(self) -> dict[str, float]:
        """The three metrics without their intervals, by name."""
        return {"mae": self.mae, "rmse": self.rmse, "spearman": self.spearman}

    def of_cell(self) -> dict[str, float]:
        """Cells are ranked by Spearman's correlation, which takes the place of accuracy."""
        return {"accuracy": self.spearman, "macro_f1": math.nan, "mae": self.mae}


@dataclass(frozen=True)
class RegressionComparison:
    """Differences of a model to a baseline on the same rows, with intervals."""

    mae: Interval  # below 0 is better
    spearman: Interval

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def gains(self) -> dict[str, float]:
        """Differences by name; above 0 is better."""
        return {"mae": -self.mae.difference, "spearman": self.spearman.difference}

    @property
    def verdict(self) -> str:
        """What the interval of the mean absolute error shows, in words."""
        if self.mae.low <= 0 <= self.mae.high:
            return "no difference shown"
        return "better" if self.mae.high < 0 else "worse"


def evaluate_regression(
    predicted: np.ndarray, true: np.ndarray, confidence: float = 0.95
) -> RegressionMetrics:
    """Metrics over all rows; intervals are bootstrap over rows.

    Args:
        predicted: [n].
        true: [n].

    Raises ValueError when there are no rows, shapes differ, or a number is not finite.
    """
    predicted, true = _checked(predicted, true)
    errors = np.abs(predicted - true)
    mae = bootstrap_interval(len(true), lambda rows: errors[rows].mean(), confidence)
    rank = bootstrap_interval(len(true), lambda rows: spearman(predicted[rows], true[rows]), confidence)
    return RegressionMetrics(
        mae.difference,
        mae.low,
        mae.high,
        float(np.sqrt((errors**2).mean())),
        rank.difference,
        rank.low,
        rank.high,
        float(np.abs(true - np.median(true)).mean()),
        len(true),
    )


def compare_regression(
    predicted: np.ndarray, baseline: np.ndarray, true: np.ndarray, confidence: float = 0.95
) -> RegressionComparison:
    """A model's numbers [n] minus a baseline's [n] on the same rows: bootstrap over rows."""
    predicted, true = _checked(predicted, true)
    baseline, _ = _checked(baseline, true)
    more = np.abs(predicted - true) - np.abs(baseline - true)

    def ranks(rows: np.ndarray) -> float:
        return spearman(predicted[rows], true[rows]) - spearman(baseline[rows], true[rows])

    return RegressionComparison(
        bootstrap_interval(len(true), lambda rows: more[rows].mean(), confidence),
        bootstrap_interval(len(true), ranks, confidence),
    )


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation of [n] and [n], ties sharing their mean rank; 0 where one of them is constant."""
    from scipy.stats import rankdata

    one, other = rankdata(first), rankdata(second)
    one, other = one - one.mean(), other - other.mean()
    length = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / length if length > 0 else 0.0


def _checked(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if predicted.shape != true.shape or true.ndim != 1 or not len(true):
        raise ValueError(f"expected as many numbers, at least one, found {predicted.shape} and {true.shape}")
    if not np.isfinite(predicted).all() or not np.isfinite(true).all():
        bad = int((~np.isfinite(predicted)).sum() + (~np.isfinite(true)).sum())
        raise ValueError(f"{bad} of {2 * len(true)} numbers are not finite")
    return predicted, true
