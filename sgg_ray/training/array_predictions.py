"""Predictions that are a few numbers a row, as heads and label words give them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sgg_ray.models import TaskModel
from sgg_ray.tasks import Rows, Task, parts_of
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.evaluate import predict
from sgg_ray.training.predictions import Predictions, Progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ArrayPredictions(Predictions):
    """What :func:`sgg_ray.training.predict` gives for the rows: ``found`` [n, W]."""

    task: Task
    rows: Rows
    found: np.ndarray

    @classmethod
    def of(
        cls,
        model: TaskModel,
        task: Task,
        rows: Rows,
        batch_size: int,
        communicator: Communicator,
        on_progress: Progress,
    ) -> Self:
        """Predict ``rows`` under the task's own head."""
        if not len(rows):
            return cls(task, rows, np.zeros((0, len(task.labels)), dtype=np.float32))
        found = predict(model, model.tokenise(task, rows), batch_size, communicator, on_progress)
        return cls(task, rows, found)

    @classmethod
    def load(cls, path: Path, task: Task, rows: Rows) -> Self:
        """What :meth:`save` wrote."""
        return cls(task, rows, np.load(path))

    def save(self, path: Path) -> None:
        """Write the array as a NumPy file, whole or not at all."""
        part = path.with_name(f".{path.name}")
        np.save(part, self.found)  # numpy leaves a name alone that ends with .npy
        os.replace(part, path)

    def _frame(self, columns: dict[str, Any]) -> pd.DataFrame:
        """The fields of each text, and these columns."""
        import pandas as pd

        return pd.DataFrame({**dict(zip(self.task.fields, zip(*map(parts_of, self.rows.texts)))), **columns})
