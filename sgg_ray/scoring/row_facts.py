"""What is known of a source's rows whatever the target is: made once, and kept beside their vectors."""

from dataclasses import dataclass

import numpy as np

from sgg_ray.rows import ContrastModel, fit_contrast, near_duplicates, outlyingness
from sgg_ray.scoring.row_vectors import WITH_LABELS, RowVectors
from sgg_ray.tasks import Task
from sgg_ray.tasks.select import text_key


@dataclass(frozen=True)
class RowFacts:
    """Of the rows of one task of an encoder.

    Attributes:
        model: fitted on them; None where they do not have two labels.
        duplicate_of: an earlier row with the same text, or nearly the same features [n]; −1 for none.
        outlying: distance from the class in robust standard deviations [n]; 0 without a model.
    """

    model: ContrastModel | None
    duplicate_of: np.ndarray
    outlying: np.ndarray


def two_labels(own: RowVectors) -> bool:
    """Whether the rows have labels that can be wrong, and two of them."""
    return own.task.kind in WITH_LABELS and len(np.unique(own.task.train.labels)) > 1


def facts_of(own: RowVectors) -> RowFacts:
    """Fit the model, and look for duplicates and outliers: several passes over the vectors."""
    labels = own.task.train.labels
    model, outlying = None, np.zeros(len(labels))
    if two_labels(own):
        model = fit_contrast(own.vectors, labels, len(own.task.labels))
        outlying = outlyingness(own.vectors, labels, model)
    return RowFacts(model, duplicates_of(own), outlying)


def duplicates_of(own: RowVectors) -> np.ndarray:
    """For each row [n] of an encoder's task an earlier one with the same text, or nearly the same features; −1 for
    none."""
    same = equal_texts(own.task)
    return np.where(same >= 0, same, near_duplicates(own.vectors))


def equal_texts(task: Task) -> np.ndarray:
    """For each row [n] the first earlier row with the same text, −1 if there is none."""
    first: dict[str, int] = {}
    found = np.full(len(task.train), -1, dtype=np.int64)
    for row, text in enumerate(task.train.texts):
        earlier = first.setdefault(text_key(text), row)
        found[row] = earlier if earlier < row else -1
    return found
