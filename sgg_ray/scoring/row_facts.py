"""What is known of a source's rows whatever the target is: made once, and kept beside their vectors."""

from dataclasses import dataclass

import numpy as np

from sgg_ray.alignment import Noise, within_classes
from sgg_ray.rows import ContrastModel, fit_contrast, near_duplicates, outlyingness
from sgg_ray.scoring.row_vectors import WITH_LABELS, RowVectors
from sgg_ray.tasks import Task
from sgg_ray.tasks.select import first_with_key, text_key

NOISE_ROWS, NOISE_DIRECTIONS = 2048, 32  # that a source's noise is estimated from, and that are kept of it


@dataclass(frozen=True)
class RowFacts:
    """Of the rows of one task of an encoder.

    Attributes:
        model: fitted on them; None where they do not have two labels.
        duplicate_of: an earlier row with the same text, or nearly the same features [n]; −1 for none.
        outlying: distance from the class in robust standard deviations [n]; 0 without a model.
        noise: how rows differ within their classes; None without a model.
    """

    model: ContrastModel | None
    duplicate_of: np.ndarray
    outlying: np.ndarray
    noise: Noise | None = None


def two_labels(own: RowVectors) -> bool:
    """Whether the rows have labels that can be wrong, and two of them."""
    return own.task.kind in WITH_LABELS and len(np.unique(own.task.train.labels)) > 1


def facts_of(own: RowVectors) -> RowFacts:
    """Fit the model, and look for duplicates and outliers: several passes over the vectors."""
    labels = own.task.train.labels
    if not two_labels(own):
        return RowFacts(None, duplicates_of(own), np.zeros(len(labels), dtype=own.vectors.dtype))
    model = fit_contrast(own.vectors, labels, len(own.task.labels))
    outlying = outlyingness(own.vectors, labels, model)
    return RowFacts(model, duplicates_of(own), outlying, noise_of(own))


def noise_of(own: RowVectors) -> Noise:
    """The noise of a task's rows, from some of them."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(own.vectors))[:NOISE_ROWS])
    rows = np.asarray(own.vectors[chosen], dtype=np.float64)
    return within_classes(rows, own.task.train.labels[chosen], NOISE_DIRECTIONS)


def duplicates_of(own: RowVectors) -> np.ndarray:
    """For each row [n] of an encoder's task an earlier one with the same text, or nearly the same features; −1 for
    none."""
    same = equal_texts(own.task)
    return np.where(same >= 0, same, near_duplicates(own.vectors))


def equal_texts(task: Task) -> np.ndarray:
    """For each row [n] the first earlier row with the same text, −1 if there is none."""
    first = first_with_key(map(text_key, task.train.texts))
    return np.where(first < np.arange(len(first)), first, -1).astype(np.int32)
