"""Sets of labels from probabilities, and how good they are: micro- and macro-F1, and whole sets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sgg_ray.evaluation.paired import PairedComparison, compare_paired
from sgg_ray.evaluation.resampling import Interval, bootstrap_interval

THRESHOLD = 0.5  # where nothing was calibrated
MOST_CANDIDATES = 500  # thresholds that are tried


@dataclass(frozen=True)
class LabelSetMetrics:
    """F1 over all labels of all rows, its mean over labels, and the share of rows whose whole set is right."""

    micro_f1: float
    micro_f1_low: float  # NaN where the rows are no longer there to resample
    micro_f1_high: float
    macro_f1: float  # a label that is neither true nor predicted anywhere counts 0
    exact_match: float
    constant_micro_f1: (
        float  # of the same labels for all rows, the best such: what knowing nothing of the texts gives
    )
    f1: tuple[float, ...]  # of each label
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        found = {name: value for name, value in asdict(self).items() if value == value}
        return found | {"f1": list(self.f1)}

    def numbers(self) -> dict[str, float]:
        """The metrics without interval, by name."""
        return {"micro_f1": self.micro_f1, "macro_f1": self.macro_f1, "exact_match": self.exact_match}

    def of_cell(self) -> dict[str, float]:
        """Cells are ranked by micro-F1, which takes the place of accuracy."""
        return {"accuracy": self.micro_f1, "macro_f1": self.macro_f1}


@dataclass(frozen=True)
class LabelSetComparison:
    """Differences of a model to a baseline on the same rows, with intervals."""

    micro_f1: Interval
    exact_match: PairedComparison

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def gains(self) -> dict[str, float]:
        """Differences by name; above 0 is better."""
        return {"micro_f1": self.micro_f1.difference, "exact_match": self.exact_match.difference}

    @property
    def verdict(self) -> str:
        """What the interval of micro-F1 shows, in words."""
        if self.micro_f1.low <= 0 <= self.micro_f1.high:
            return "no difference shown"
        return "better" if self.micro_f1.low > 0 else "worse"


def evaluate_label_sets(predicted: np.ndarray, true: np.ndarray, confidence: float = 0.95) -> LabelSetMetrics:
    """Metrics over all rows. The interval of micro-F1 is bootstrap over rows.

    Args:
        predicted: whether each row is given each label [n, C].
        true: whether it has it [n, C].

    Raises ValueError when there are no rows, or shapes differ.
    """
    predicted, true = _checked(predicted, true)
    right, said, there = _counts(predicted, true)

    def micro(rows: np.ndarray) -> float:
        return _f1(right[rows].sum(), said[rows].sum(), there[rows].sum())

    found = bootstrap_interval(len(true), micro, confidence)
    whole = int((predicted == true).all(axis=1).sum())
    return metrics_of_counts(
        np.stack([(predicted & true).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)]),
        whole,
        len(true),
        (found.low, found.high),
    )


def metrics_of_counts(
    counts: np.ndarray, whole: int, rows: int, interval: tuple[float, float] | None = None
) -> LabelSetMetrics:
    """Micro-F1, macro-F1 and exact match from counts of rows.

    Args:
        counts: of each label, rows that are rightly given it, that are given it, and that have it [3, C].
        whole: rows whose set is right as a whole.
        interval: of micro-F1, if it is known.
    """
    each = tuple(_f1(*label) for label in counts.T)
    low, high = interval or (float("nan"), float("nan"))
    return LabelSetMetrics(
        micro_f1=_f1(*counts.sum(axis=1)),
        micro_f1_low=low,
        micro_f1_high=high,
        macro_f1=float(np.mean(each)),
        exact_match=whole / rows,
        constant_micro_f1=_of_the_same_labels(counts[2], rows),
        f1=each,
        rows=rows,
    )


def _of_the_same_labels(true: np.ndarray, rows: int) -> float:
    """The best micro-F1 of giving every row the same labels: the most frequent ones.

    Args:
        true: rows that have each label [C].
    """
    right = np.cumsum(np.sort(true)[::-1])
    return max(_f1(one, number * rows, true.sum()) for number, one in enumerate(right, start=1))


def compare_label_sets(
    predicted: np.ndarray, baseline: np.ndarray, true: np.ndarray, confidence: float = 0.95
) -> LabelSetComparison:
    """A model's sets minus a baseline's on the same rows [n, C]: bootstrap over rows; McNemar's test of whole sets."""
    predicted, true = _checked(predicted, true)
    baseline, _ = _checked(baseline, true)
    mine, theirs = _counts(predicted, true), _counts(baseline, true)

    def gain(rows: np.ndarray) -> float:
        own, other = (_f1(*(count[rows].sum() for count in counts)) for counts in (mine, theirs))
        return own - other

    ones = np.ones(len(true), dtype=bool)
    whole, before = ((one == true).all(axis=1) for one in (predicted, baseline))
    return LabelSetComparison(
        bootstrap_interval(len(true), gain, confidence), compare_paired(whole, before, ones, confidence)
    )


def given_labels(
    probabilities: np.ndarray, threshold: float = THRESHOLD, at_least_one: bool = False
) -> np.ndarray:
    """Which labels are predicted [n, C]: those whose probability reaches the threshold.

    Args:
        probabilities: [n, C].
        threshold: of all labels.
        at_least_one: give a row in which none does the most probable one.
    """
    given = probabilities >= threshold
    if at_least_one:
        rows = np.flatnonzero(~given.any(axis=1))
        given[rows, probabilities[rows].argmax(axis=1)] = True
    return given


def fit_threshold(probabilities: np.ndarray, true: np.ndarray, at_least_one: bool) -> float:
    """The probability from which on to predict a label, for the best micro-F1 on held-out rows.

    One number for all labels: a label has too few held-out rows for a threshold of its own. Of all thresholds whose
    micro-F1 is within one standard error of the best, that nearest to ½ is taken (the rule of Breiman et al., 1984).

    Args:
        probabilities: [n, C] of rows that the model was not trained on.
        true: whether each row has each label [n, C].
        at_least_one: as in :func:`given_labels`.
    """
    true, values = np.asarray(true) > 0, np.unique(probabilities)
    between = (values[1:] + values[:-1]) / 2
    candidates = np.append(between[:: -(-len(between) // MOST_CANDIDATES) or 1], THRESHOLD)
    found = np.array(
        [_micro_f1_with_error(given_labels(probabilities, one, at_least_one), true) for one in candidates]
    )
    best = found[:, 0].argmax()
    good = candidates[found[:, 0] >= found[best, 0] - found[best, 1]]
    return float(good[np.abs(good - THRESHOLD).argmin()])


def _micro_f1_with_error(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Micro-F1 and its standard error over rows, as of a ratio of two sums (delta method)."""
    right, said, there = _counts(predicted, true)
    whole = said + there
    value = _f1(right.sum(), said.sum(), there.sum())
    return value, float(np.sqrt(((2 * right - value * whole) ** 2).sum()) / max(whole.sum(), 1))


def _counts(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many labels each row [n] is rightly given, is given, and has."""
    return (predicted & true).sum(axis=1), predicted.sum(axis=1), true.sum(axis=1)


def _f1(right: float, predicted: float, true: float) -> float:
    """2·right / (predicted + true); 0 where there is nothing."""
    return float(2 * right / (predicted + true)) if predicted + true else 0.0


def _checked(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = np.asarray(predicted) > 0, np.asarray(true) > 0
    if predicted.shape != true.shape or true.ndim != 2 or not len(true):
        raise ValueError(
            f"expected sets of the same rows and labels, found {predicted.shape} and {true.shape}"
        )
    return predicted, true
