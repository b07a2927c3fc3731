"""Predictions of labels: a probability for each label of each row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sgg_ray.evaluation import (
    ClassificationMetrics,
    PairedComparison,
    calibration_errors,
    compare_paired,
    evaluate_classification,
)
from sgg_ray.models import TaskModel
from sgg_ray.tasks import Rows, Task, parts_of
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.evaluate import predict
from sgg_ray.training.predictions import Predictions, Progress

if TYPE_CHECKING:
    import pandas as pd

SMALLEST = 1e-12  # probability that a loss is cut at


@dataclass(frozen=True)
class LabelPredictions(Predictions):
    """Probabilities [n, C] of a task's labels; the label is the most probable one."""

    file = "probabilities.npy"
    metric = "accuracy"
    calibrated = True

    task: Task
    rows: Rows
    probabilities: np.ndarray

    @classmethod
    def of(
        cls,
        model: TaskModel,
        task: Task,
        rows: Rows,
        batch_size: int,
        communicator: Communicator,
        on_progress: Progress,
    ) -> LabelPredictions:
        """Predict ``rows`` under the task's own head."""
        found = predict(model, model.tokenise(task, rows), batch_size, communicator, on_progress)
        return cls(task, rows, found)

    @classmethod
    def load(cls, path: Path, task: Task, rows: Rows) -> LabelPredictions:
        """What :meth:`save` wrote."""
        return cls(task, rows, np.load(path))

    def save(self, path: Path) -> None:
        """Write the probabilities as a NumPy file, whole or not at all."""
        part = path.with_name(f".{path.name}")
        np.save(part, self.probabilities)  # numpy leaves a name alone that ends with .npy
        os.replace(part, path)

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

    def calibration(self, temperature: float) -> dict[str, float]:
        """Expected calibration errors without and with a temperature."""
        return calibration_errors(self.probabilities, self.rows.labels, temperature)

    def frame(self) -> pd.DataFrame:
        """The fields of each text, ``label``, ``predicted`` and ``p_<label>``."""
        import pandas as pd

        names = self.task.labels
        return pd.DataFrame(
            {
                **dict(zip(self.task.fields, zip(*map(parts_of, self.rows.texts)))),
                "label": [names[number] for number in self.rows.labels],
                "predicted": [names[number] for number in self._predicted],
                **{f"p_{name}": self.probabilities[:, number] for number, name in enumerate(names)},
            }
        )

    @property
    def _predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)
