"""What models of other tasks say of a task's rows, over the labels that both have."""

from collections.abc import Sequence

import numpy as np

from sgg_ray.rows import ContrastModel
from sgg_ray.rows.contrast_model import parts_of_rows
from sgg_ray.scoring.row_vectors import RowVectors
from sgg_ray.tasks import Task


def logits_of_others(others: Sequence[tuple[Task, ContrastModel]], own: RowVectors) -> dict[str, np.ndarray]:
    """Logits [n, C] of the rows in their own labels, by the tasks that have two of these labels or more.

    Of labels that the other task does not have they are the mean. All come from one pass over the rows, which may be on
    disk.
    """
    labels = own.task.labels
    common = {task.name: [name for name in labels if name in task.labels] for task, _ in others}
    others = [(task, model) for task, model in others if len(common[task.name]) > 1]
    if not others:
        return {}
    weights = [
        model.weights[:, [task.labels.index(name) for name in common[task.name]]] for task, model in others
    ]
    offsets = np.concatenate([model.mean @ mine for (_, model), mine in zip(others, weights)])
    spoken = products(own.vectors, 0.0, np.concatenate(weights, axis=1).T) - offsets
    found, start = {}, 0
    for task, _ in others:
        places = [labels.index(name) for name in common[task.name]]
        said = spoken[:, start : start + len(places)]
        start += len(places)
        logits = np.zeros((len(said), len(labels)))
        logits[:, places] = said - said.mean(axis=1, keepdims=True)
        found[task.name] = logits - logits.mean(axis=0)
    return found


def products(features: np.ndarray, mean: np.ndarray | float, directions: np.ndarray) -> np.ndarray:
    """⟨x − mean, direction⟩ [n, C]."""
    return np.concatenate([(rows - mean) @ directions.T for _, rows in parts_of_rows(features)])
