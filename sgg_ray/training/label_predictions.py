"""Predictions of labels: a probability for each label of each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.evaluation import (
    ClassificationMetrics,
    HeldOutComparison,
    OrdinalMetrics,
    PairedComparison,
    calibration_errors,
    compare_held_out,
    compare_paired,
    evaluate_classification,
    fit_temperature,
    median_level,
)
from sgg_ray.tasks import Rows
from sgg_ray.training.array_predictions import ArrayPredictions

if TYPE_CHECKING:
    import pandas as pd

SMALLEST = 1e-12  # probability that a loss is cut at


@dataclass(frozen=True)
class LabelPredictions(ArrayPredictions):
    """Probabilities [n, C] of a task's labels; the label is the most probable one."""

    file = "probabilities.npy"
    metric = "accuracy"
    calibrated = True

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each label for each row [n, C]."""
        return self.found

    def metrics(self) -> ClassificationMetrics:
        """Accuracy and macro-F1 over all rows."""
        return evaluate_classification(self.probabilities, self.rows.labels)

    def minus(self, baseline: LabelPredictions) -> PairedComparison:
        """The difference of accuracy on the same rows."""
        return compare_paired(self._predicted, baseline._predicted, self.rows.labels)

    @property
    def correct(self) -> np.ndarray:
        """Whether the most probable label is the true one [n]."""
        return self._predicted == self.rows.labels

    @property
    def losses(self) -> np.ndarray:
        """−log of the true label's probability [n]."""
        right = self.probabilities[np.arange(len(self.rows)), self.rows.labels]
        return -np.log(np.maximum(right, SMALLEST))

    @classmethod
    def fit_calibration(cls, found: np.ndarray, rows: Rows) -> dict[str, Any]:
        """The temperature that makes probabilities ``found`` [n, C] fit the labels best."""
        return {"temperature": fit_temperature(found, rows.labels)}

    @classmethod
    def compare_held_out(cls, guided: np.ndarray, baseline: np.ndarray, rows: Rows) -> HeldOutComparison:
        """By cross-entropy at each model's own best temperature."""
        return compare_held_out(guided, baseline, rows.labels)

    def calibration(self, fitted: Mapping[str, Any]) -> dict[str, float]:
        """Expected calibration errors without and with the temperature."""
        return calibration_errors(self.probabilities, self.rows.labels, fitted["temperature"])

    def frame(self) -> pd.DataFrame:
        """The fields of each text, ``label``, ``predicted`` and ``p_<label>``."""
        names = self.task.labels
        return self._frame(
            {
                "label": [names[number] for number in self.rows.labels],
                "predicted": [names[number] for number in self._predicted],
                **{f"p_{name}": self.probabilities[:, number] for number, name in enumerate(names)},
            }
        )

    @property
    def _predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)


class OrdinalPredictions(LabelPredictions):
    """Predictions of labels with an order: the predicted one is the median, which on average is least far off."""

    def metrics(self) -> OrdinalMetrics:
        """Accuracy and macro-F1, and how far off predictions are."""
        chosen = np.eye(self.probabilities.shape[1])[self._predicted]
        return OrdinalMetrics.of(evaluate_classification(chosen, self.rows.labels))

    @property
    def _predicted(self) -> np.ndarray:
        return median_level(self.probabilities)
