"""Predictions of sets of labels, and of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.evaluation import (
    HeldOutComparison,
    LabelSetComparison,
    LabelSetMetrics,
    RegressionComparison,
    RegressionMetrics,
    compare_label_sets,
    compare_losses,
    compare_regression,
    evaluate_label_sets,
    evaluate_regression,
    fit_threshold,
    given_labels,
)
from sgg_ray.tasks import Rows, Task, all_labelled, joined_set
from sgg_ray.training.array_predictions import ArrayPredictions

if TYPE_CHECKING:
    import pandas as pd

SMALLEST = 1e-12  # probability that a loss is cut at


@dataclass(frozen=True)
class LabelSetPredictions(ArrayPredictions):
    """Probability of each label [n, C]; those of ½ and more are predicted, and at least one where every shot has one.

    A threshold from held-out shots belongs to the guided model alone: models are compared without it.
    """

    file = "label_sets.npy"
    metric = "micro_f1"
    calibrated = True

    def metrics(self) -> LabelSetMetrics:
        """Micro- and macro-F1 over all rows."""
        return evaluate_label_sets(self._given, self._true)

    def minus(self, baseline: LabelSetPredictions) -> LabelSetComparison:
        """The differences on the same rows."""
        return compare_label_sets(self._given, baseline._given, self._true)

    @property
    def correct(self) -> np.ndarray:
        """Whether the whole set is right [n]."""
        return (self._given == (self._true > 0)).all(axis=1)

    @property
    def losses(self) -> np.ndarray:
        """Cross-entropy of each row, summed over the labels [n]."""
        right = np.where(self._true > 0, self.found, 1 - self.found)
        return -np.log(np.maximum(right, SMALLEST)).sum(axis=1)

    @classmethod
    def fit_calibration(cls, found: np.ndarray, rows: Rows) -> dict[str, Any]:
        """The threshold of all labels."""
        assert rows.values is not None
        return {"threshold": fit_threshold(found, rows.values, all_labelled(rows))}

    @classmethod
    def compare_held_out(cls, guided: np.ndarray, baseline: np.ndarray, rows: Rows) -> HeldOutComparison:
        """By cross-entropy, summed over the labels; right are whole sets."""
        task = Task("held out", (), rows, rows, "target", kind="multi_label")
        one, other = cls(task, rows, guided), cls(task, rows, baseline)
        return compare_losses(one.losses, other.losses, one.correct, other.correct)

    def calibration(self, fitted: Mapping[str, Any]) -> dict[str, float]:
        """F1 with the threshold."""
        given = given_labels(self.found, fitted["threshold"], all_labelled(self.task.train))
        calibrated = evaluate_label_sets(given, self._true)
        return {
            "micro_f1_calibrated": calibrated.micro_f1,
            "macro_f1_calibrated": calibrated.macro_f1,
        }

    def frame(self) -> pd.DataFrame:
        """The fields of each text, ``label`` and ``predicted`` as ``a|b``, and ``p_<label>``."""
        names = self.task.labels

        def sets(marks: np.ndarray) -> list[str]:
            return [joined_set([names[place] for place in np.flatnonzero(row)]) for row in marks]

        chances = {f"p_{name}": self.found[:, number] for number, name in enumerate(names)}
        return self._frame({"label": sets(self._true), "predicted": sets(self._given), **chances})

    @property
    def _given(self) -> np.ndarray:
        return given_labels(self.found, at_least_one=all_labelled(self.task.train))

    @property
    def _true(self) -> np.ndarray:
        assert self.rows.values is not None
        return self.rows.values


@dataclass(frozen=True)
class NumberPredictions(ArrayPredictions):
    """A number for each row [n, 1]."""

    file = "numbers.npy"
    metric = "spearman"
    calibrated = False

    def metrics(self) -> RegressionMetrics:
        """Errors and rank correlation over all rows."""
        return evaluate_regression(self.found[:, 0], self._true)

    def minus(self, baseline: NumberPredictions) -> RegressionComparison:
        """The differences on the same rows."""
        return compare_regression(self.found[:, 0], baseline.found[:, 0], self._true)

    @property
    def correct(self) -> np.ndarray:
        """Nothing: numbers are near or far, not right or wrong [0]."""
        return np.zeros(0, dtype=bool)

    @property
    def losses(self) -> np.ndarray:
        """Squared error of each row [n]."""
        return (self.found[:, 0] - self._true) ** 2

    def frame(self) -> pd.DataFrame:
        """The fields of each text, ``label``, ``predicted`` and ``error``."""
        error = self.found[:, 0] - self._true
        return self._frame({"label": self._true, "predicted": self.found[:, 0], "error": error})

    @property
    def _true(self) -> np.ndarray:
        assert self.rows.values is not None
        return self.rows.values[:, 0]
