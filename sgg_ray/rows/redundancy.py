"""Rows that say what others have said, and rows that are like no other."""

import numpy as np

from sgg_ray.rows.contrast_model import ContrastModel, parts_of_rows, unit_rows

OUTLYING = 4.0  # robust standard deviations from which on a row is called an outlier
ALIKE = 0.97  # cosine of features from which on two texts are nearly the same
MOST_COMPARED = 20_000  # rows: every pair is looked at
BLOCK = 1024
SPREAD = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution


def near_duplicates(features: np.ndarray, alike: float = ALIKE) -> np.ndarray:
    """For each row [n] the first earlier row that is nearly the same, −1 if there is none.

    Rows beyond MOST_COMPARED are not compared.

    Args:
        features: [n, H], or gradients.
        alike: least cosine.
    """
    found = np.full(len(features), -1, dtype=np.int32)
    rows = unit_rows(features[:MOST_COMPARED], np.float32)
    for start in range(0, len(rows), BLOCK):
        stop = min(start + BLOCK, len(rows))
        close = rows[start:stop] @ rows[:stop].T >= alike
        close &= np.arange(stop) < np.arange(start, stop)[:, None]
        has = close.any(axis=1)
        found[start:stop][has] = close[has].argmax(axis=1)
    return found


def outlyingness(features: np.ndarray, classes: np.ndarray, model: ContrastModel) -> np.ndarray:
    """How far each row [n] is from the mean of its class, in robust standard deviations of that distance.

    Above 4 or so, a text is of another kind than the rest: another language, markup, a fragment.

    Args:
        features: [n, H].
        classes: [n].
        model: fitted on these rows.
    """
    distances = np.empty(len(classes), dtype=features.dtype)
    for part, rows in parts_of_rows(features):
        distances[part] = np.linalg.norm(rows - model.class_means[classes[part]], axis=1)
    return robust_deviation(distances)


def robust_deviation(values: np.ndarray) -> np.ndarray:
    """Distance from the median in standard deviations, both robust to outliers; 0 where all are alike."""
    middle = np.median(values)
    spread = SPREAD * float(np.median(np.abs(values - middle)))
    return (values - middle) / spread if spread > 0.0 else np.zeros_like(values)
