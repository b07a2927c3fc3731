"""Which kind of task has which predictions: the only place that knows all of them."""

from __future__ import annotations

from pathlib import Path

from sgg_ray.config import Kind
from sgg_ray.models import TaskModel
from sgg_ray.tasks import Rows, Task
from sgg_ray.training.communicator import Communicator, SingleProcess
from sgg_ray.training.label_predictions import LabelPredictions, OrdinalPredictions
from sgg_ray.training.predictions import Predictions, Progress
from sgg_ray.training.text_predictions import TextPredictions
from sgg_ray.training.value_predictions import LabelSetPredictions, NumberPredictions

OF_KIND: dict[Kind, type[Predictions]] = {
    "classification": LabelPredictions,
    "ordinal": OrdinalPredictions,
    "multi_label": LabelSetPredictions,
    "regression": NumberPredictions,
    "multiple_choice": LabelPredictions,
    "generation": TextPredictions,
}


def predictions_class(task: Task) -> type[Predictions]:
    """The class of a task's predictions."""
    return OF_KIND["generation" if task.generates else task.kind]


def predict_rows(
    model: TaskModel,
    task: Task,
    rows: Rows,
    batch_size: int,
    communicator: Communicator | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Predictions:
    """Predict rows of a task, whatever its kind; see :meth:`Predictions.of`."""
    kind = predictions_class(task)
    return kind.of(model, task, rows, batch_size, communicator or SingleProcess(), on_progress)


def predictions_path(folder: Path, task: Task, prefix: str = "") -> Path:
    """Where a run folder or checkpoint keeps the predictions of a task's test rows."""
    return folder / f"{prefix}{predictions_class(task).file}"


def load_predictions(path: Path, task: Task) -> Predictions:
    """The predictions of the task's test rows in a file of :func:`predictions_path`."""
    return predictions_class(task).load(path, task, task.test)


def holds_predictions(folder: Path) -> bool:
    """Whether there are predictions of any kind in a folder."""
    return any((folder / kind.file).exists() for kind in OF_KIND.values())
