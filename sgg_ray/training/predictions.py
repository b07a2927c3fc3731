"""A model's predictions of rows whose truth is known: one interface for all kinds of tasks.

A kind of task is a subclass of :class:`Predictions`; :mod:`sgg_ray.training.predict_rows` says which task has which.
Whoever measures, compares, stores or lists predictions knows this interface alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sgg_ray.evaluation import Comparison, HeldOutComparison, Metrics
from sgg_ray.models import TaskModel
from sgg_ray.tasks import Rows, Task
from sgg_ray.training.communicator import Communicator

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]  # takes (rows done, rows in all) of one worker


class Predictions(ABC):
    """What a model makes of n rows of a task, in their order."""

    file: ClassVar[str]  # what :meth:`save` calls it in a run folder or checkpoint
    metric: ClassVar[str]  # the one of ``metrics().numbers()`` that says how good a model is
    calibrated: ClassVar[bool]  # whether :meth:`fit_calibration` finds anything

    task: Task
    rows: Rows

    @classmethod
    @abstractmethod
    def of(
        cls,
        model: TaskModel,
        task: Task,
        rows: Rows,
        batch_size: int,
        communicator: Communicator,
        on_progress: Progress,
    ) -> Predictions:
        """Predict ``rows``; called on every worker, which share the work and all get the same.

        Args:
            batch_size: rows a worker computes at once.
            on_progress: told of this worker's rows after each batch.
        """

    @classmethod
    @abstractmethod
    def load(cls, path: Path, task: Task, rows: Rows) -> Predictions:
        """What :meth:`save` wrote for these rows."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""

    @abstractmethod
    def metrics(self) -> Metrics:
        """Metrics over all rows."""

    @abstractmethod
    def minus(self, baseline: Any) -> Comparison:
        """The paired difference to predictions of the same kind for the same rows."""

    @property
    @abstractmethod
    def correct(self) -> np.ndarray:
        """Whether each row is predicted right [n]."""

    @property
    @abstractmethod
    def losses(self) -> np.ndarray:
        """Cross-entropy of each row's truth [n], in nats; of a text the mean over its tokens."""

    @abstractmethod
    def frame(self) -> pd.DataFrame:
        """One row a row, with its truth, as predictions.parquet has it."""

    @classmethod
    def fit_calibration(cls, found: np.ndarray, rows: Rows) -> dict[str, Any]:
        """What makes predictions fit rows that the model was not trained on: ``temperature``, or ``threshold``.

        Args:
            found: what a model gives for the rows [n, W].
        """
        return {}

    @classmethod
    def compare_held_out(cls, guided: np.ndarray, baseline: np.ndarray, rows: Rows) -> HeldOutComparison:
        """How two models compare on rows that neither was trained on; only of kinds that are ``calibrated``.

        Args:
            guided: what the one gives for the rows [n, W].
            baseline: what the other gives.
        """
        raise NotImplementedError

    def calibration(self, fitted: Mapping[str, Any]) -> dict[str, float]:
        """How good these predictions are with what :meth:`fit_calibration` found; nothing where there is nothing."""
        return {}
