"""What models of other tasks say of a task's rows, over the labels that both have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sgg_ray.rows import ContrastModel
from sgg_ray.tasks import Task


@dataclass(frozen=True)
class Voice:
    """A model of another task, as far as it speaks of a task's labels.

    Attributes:
        columns: its weights of the labels that both have [k, H].
        offset: what is taken off the products [k].
        places: of these labels among the task's [k].
    """

    columns: np.ndarray
    offset: np.ndarray
    places: list[int]

    def logits(self, spoken: np.ndarray, labels: int) -> np.ndarray:
        """Logits [n, labels] from products with the columns [n, k]; of labels that the other task does not have they
        are the mean."""
        said = spoken - spoken.mean(axis=1, keepdims=True)
        found = np.zeros((len(said), labels), dtype=said.dtype)
        found[:, self.places] = said - said.mean(axis=0)
        return found


def voice_of(task: Task, model: ContrastModel, labels: Sequence[str]) -> Voice | None:
    """What a task's model can say of ``labels``; None if it has fewer than two of them."""
    common = [name for name in labels if name in task.labels]
    if len(common) < 2:
        return None
    columns = model.weights[:, [task.labels.index(name) for name in common]].T
    return Voice(columns, columns @ model.mean, [labels.index(name) for name in common])
