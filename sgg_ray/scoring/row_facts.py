"""What is known of a source's rows whatever the target is: made once, and kept beside their vectors."""

from dataclasses import dataclass

import numpy as np

from sgg_ray.rows import ContrastModel, fit_contrast, near_duplicates, outlyingness
from sgg_ray.scoring.row_vectors import WITH_LABELS, RowVectors


@dataclass(frozen=True)
class RowFacts:
    """Of the rows of one task of an encoder.

    Attributes:
        model: fitted on them; None where they do not have two labels.
        duplicate_of: an earlier row with nearly the same features [n]; −1 for none.
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
    nothing = np.full(len(labels), -1, dtype=np.int64)
    # Completions of one prompt are alike for other reasons than their texts.
    return RowFacts(model, nothing if own.task.generates else near_duplicates(own.vectors), outlying)
