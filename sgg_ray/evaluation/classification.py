"""Accuracy, macro-F1 and confusion matrix of a classifier on labelled rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sgg_ray.evaluation.regression import spearman


@dataclass(frozen=True)
class ClassificationMetrics:
    """Accuracy with interval, macro-F1 and confusion matrix of a model on one test split; shares from 0 to 1."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    confusion: np.ndarray  # [C, C] counts, row = true class, column = predicted class
    rows: int

    @property
    def majority(self) -> float:
        """Accuracy of always naming the most frequent class of these rows."""
        return float(self.confusion.sum(axis=1).max()) / self.rows

    @property
    def is_skewed(self) -> bool:
        """Whether the most frequent class alone makes an accuracy that looks good."""
        return self.majority > max(0.6, 1.5 / len(self.confusion))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON."""
        return {
            "majority": self.majority,
            "accuracy": self.accuracy,
            "accuracy_low": self.accuracy_low,
            "accuracy_high": self.accuracy_high,
            "macro_f1": self.macro_f1,
            "confusion": self.confusion.tolist(),
            "rows": self.rows,
        }

    def numbers(self) -> dict[str, float]:
        """Accuracy and macro-F1, by name."""
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1}

    def of_cell(self) -> dict[str, float]:
        """Accuracy, which cells of a comparison are ranked by, and macro-F1."""
        return self.numbers()


@dataclass(frozen=True)
class OrdinalMetrics(ClassificationMetrics):
    """Metrics of a classifier whose classes have an order, and how far its predictions are off."""

    mae: float  # mean distance of predicted and true class, in classes
    constant_mae: (
        float  # of one class for all rows, their median: the least that knowing nothing of the texts gives
    )
    spearman: float  # rank correlation of predicted and true class

    @classmethod
    def of(cls, metrics: ClassificationMetrics) -> OrdinalMetrics:
        """Add what the confusion matrix says about distances."""
        true, predicted = np.indices(metrics.confusion.shape).reshape(2, -1)
        counts = metrics.confusion.reshape(-1)
        ranks = spearman(np.repeat(predicted, counts), np.repeat(true, counts))
        values = {field.name: getattr(metrics, field.name) for field in fields(ClassificationMetrics)}
        mae = float((np.abs(true - predicted) * counts).sum()) / metrics.rows
        off = np.abs(np.subtract.outer(np.arange(len(metrics.confusion)), np.arange(len(metrics.confusion))))
        constant = float((off @ metrics.confusion.sum(axis=1)).min()) / metrics.rows
        return cls(**values, mae=mae, constant_mae=constant, spearman=ranks)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON."""
        return super().to_dict() | {
            "mae": self.mae,
            "constant_mae": self.constant_mae,
            "spearman": self.spearman,
        }

    def numbers(self) -> dict[str, float]:
        """Accuracy, macro-F1, mean distance and rank correlation, by name."""
        return super().numbers() | {"mae": self.mae, "spearman": self.spearman}

    def of_cell(self) -> dict[str, float]:
        """Accuracy, which cells of a comparison are ranked by, macro-F1, and the mean distance."""
        return super().numbers() | {"mae": self.mae}


def evaluate_classification(
    probabilities: np.ndarray, labels: np.ndarray, confidence: float = 0.95
) -> ClassificationMetrics:
    """Metrics of ``probabilities`` [n, C] against ``labels`` [n] in 0 … C−1; the class is the arg max.

    The interval of the accuracy is Wilson's for a proportion. Resampling rows would draw from that same
    binomial, but gives an interval of no width when every row is right, which small test splits do produce.
    Macro-F1 is the plain mean over all C classes; a class that is neither present nor predicted counts 0.

    Raises ValueError when there are no rows, shapes do not fit, a label is outside 0 … C−1, or a probability
    is not finite.
    """
    from sklearn.metrics import confusion_matrix

    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise ValueError(
            "expected probabilities [rows, classes] and labels [rows] with at least one row, "
            f"found {probabilities.shape} and {labels.shape}"
        )
    rows, classes = probabilities.shape
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise ValueError(f"probabilities of {bad} of {rows} rows are not finite")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be 0 … {classes - 1}, found {labels.min()} … {labels.max()}")
    predicted = probabilities.argmax(axis=1)
    return metrics_of(confusion_matrix(labels, predicted, labels=np.arange(classes)), confidence)


def median_level(probabilities: np.ndarray) -> np.ndarray:
    """The median [n] of probabilities [n, C] over classes with an order: on average no class is less far off."""
    return (np.cumsum(probabilities, axis=1) < 0.5).sum(axis=1).clip(max=probabilities.shape[1] - 1)


def metrics_of(confusion: np.ndarray, confidence: float = 0.95) -> ClassificationMetrics:
    """Accuracy with Wilson's interval, and macro-F1, from counts of at least one row.

    Args:
        confusion: [C, C], row = true class, column = predicted class.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import f1_score

    rows, right = int(confusion.sum()), int(np.trace(confusion))
    interval = binomtest(right, rows).proportion_ci(confidence, method="wilson")
    true, predicted = np.indices(confusion.shape).reshape(2, -1)
    macro_f1 = f1_score(
        true,
        predicted,
        labels=np.arange(len(confusion)),
        average="macro",
        sample_weight=confusion.reshape(-1),
        zero_division=0,  # pyright: ignore[reportArgumentType] (the annotation leaves out numbers)
    )
    return ClassificationMetrics(
        accuracy=right / rows,
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        macro_f1=float(macro_f1),
        confusion=confusion,
        rows=rows,
    )
