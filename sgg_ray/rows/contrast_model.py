"""A linear classifier over frozen features, whose predictions of its own rows leave each row out, in closed form.

Ridge regression of the residuals onehot(y) − 1/C on features less their balanced mean, every class weighing the same.
With shrunken covariances this is the direction of linear discriminant analysis; flipped labels shorten it and hardly
turn it. Leaving row i out of a ridge regression needs no second fit: with the leverage h_i = x_iᵀ (XᵀX + λI)⁻¹ x_i, its
residual is (y_i − ŷ_i)/(1 − h_i) (Allen, 1974, the PRESS statistic). The mean is that of all rows: were it estimated
without the row, the row's own class would always look too rare, and noise alone would seem to contradict its labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# λ as a multiple of the mean eigenvalue of XᵀX; the one with the least leave-one-out error is taken.
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
CHUNK = 8192  # rows at once: memory does not grow with their number

RowParts = Iterator[tuple[slice, np.ndarray]]


@dataclass(frozen=True)
class ContrastModel:
    """Logits (x − mean) · weights of any row.

    Attributes:
        weights: [H, C]; its rows sum to zero.
        mean: [H], the mean of the class means of the features.
        ridge: the λ that was taken, as a multiple of the mean eigenvalue.
        logits: leave-one-out logits [n, C] of the rows that it was fitted on.
    """

    weights: np.ndarray
    mean: np.ndarray
    ridge: float
    logits: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Logits [m, C] of other rows [m, H]."""
        found = np.empty((len(features), self.weights.shape[1]))
        for part, rows in parts_of_rows(features):
            found[part] = (rows - self.mean) @ self.weights
        return found


def parts_of_rows(features: np.ndarray) -> RowParts:
    """Slices of at most CHUNK rows, and these rows as float64; of a memory map no more is read at a time."""
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        yield part, np.asarray(features[part], dtype=np.float64)


def fit_contrast(features: np.ndarray, classes: np.ndarray, labels: int) -> ContrastModel:
    """Fit a :class:`ContrastModel`, with the ridge of least leave-one-out error.

    Args:
        features: [n, H]; may be a memory map, which is read in parts.
        classes: of these rows [n], in 0..labels−1. A class without rows gets logits, which then say nothing.
        labels: C, 2 or more.

    Raises:
        ValueError: rows of fewer than two classes.
    """
    counts = np.bincount(classes, minlength=labels)
    if (counts > 0).sum() < 2:
        raise ValueError("rows of one class only: no contrast to compare")
    mean = balanced_mean(features, classes, labels)
    weight = np.sqrt(len(classes) / (counts > 0).sum() / np.maximum(counts, 1))[classes]  # [n]
    residuals = np.eye(labels)[classes] - 1 / labels
    width = features.shape[1]
    gram, cross = np.zeros((width, width)), np.zeros((width, labels))
    for part, rows in parts_of_rows(features):
        centred = (rows - mean) * weight[part, None]
        gram += centred.T @ centred
        cross += centred.T @ (residuals[part] * weight[part, None])
    squares, turns = np.linalg.eigh(gram)
    squares = np.maximum(squares, 0.0)
    level = squares.sum() / width or 1.0
    turned = turns.T @ cross
    errors = np.zeros(len(RIDGES))
    logits = np.zeros((len(RIDGES), len(classes), labels))
    for part, rows in parts_of_rows(features):
        along = ((rows - mean) @ turns) * weight[part, None]
        for number, ridge in enumerate(RIDGES):
            scaled = along / (squares + ridge * level)
            leverage = np.minimum((scaled * along).sum(axis=1), 1 - 1e-9)
            left = (residuals[part] * weight[part, None] - scaled @ turned) / (1 - leverage)[:, None]
            errors[number] += float((left**2).sum())
            logits[number, part] = residuals[part] - left / weight[part, None]
    best = int(errors.argmin())
    weights = turns @ (turned / (squares + RIDGES[best] * level)[:, None])
    return ContrastModel(weights, mean, RIDGES[best], logits[best])


def balanced_mean(features: np.ndarray, classes: np.ndarray, labels: int) -> np.ndarray:
    """Mean [H] of the class means of features [n, H], of the classes that have rows."""
    sums = np.zeros((labels, features.shape[1]))
    for part, rows in parts_of_rows(features):
        np.add.at(sums, classes[part], rows)
    counts = np.bincount(classes, minlength=labels)
    return (sums[counts > 0] / counts[counts > 0, None]).mean(axis=0)
