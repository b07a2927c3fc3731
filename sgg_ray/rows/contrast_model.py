"""A linear classifier over frozen features, and what it predicts of its own rows without having seen them.

Ridge regression of the residuals onehot(y) − 1/C on features less their balanced mean, every class weighing the same.
With shrunken covariances this is the direction of linear discriminant analysis; flipped labels shorten it and hardly
turn it. Rows are predicted by the fit on the other folds. Folds are stratified, and their means are their own: with the
mean of all rows a row could be told from the others (what they sum to is minus itself), and with classes out of balance
a row's own class would look too rare, so that noise alone seemed to contradict its label.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# λ as a multiple of the mean eigenvalue of XᵀX; the one with the least error on the folds left out is taken.
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 10
CHUNK = 8192  # rows at once: memory hardly grows with their number

RowParts = Iterator[tuple[slice, np.ndarray]]


@dataclass(frozen=True)
class ContrastModel:
    """Logits (x − mean) · weights of any row.

    Attributes:
        weights: [H, C]; its rows sum to zero.
        mean: [H], the mean of the class means of the features.
        ridge: the λ that was taken, as a multiple of the mean eigenvalue.
        logits: of the rows that it was fitted on, each by the fit without its fold [n, C].
        folds: which fold each row is in [n].
        class_means: mean features of the rows of each class [C, H]; 0 for a class without rows.
    """

    weights: np.ndarray
    mean: np.ndarray
    ridge: float
    logits: np.ndarray
    folds: np.ndarray
    class_means: np.ndarray

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


def unit_rows(vectors: np.ndarray, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """Vectors [n, D] of length 1; those of length 0 stay so."""
    rows = np.asarray(vectors, dtype=dtype)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def fit_contrast(features: np.ndarray, classes: np.ndarray, labels: int) -> ContrastModel:
    """Fit a :class:`ContrastModel`, with the ridge of least error on the folds left out.

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
    folds = _stratified(classes)
    sums = _fold_sums(features, classes, folds, labels)
    total = _Sums(*(part.sum(axis=0) for part in (sums.squares, sums.classes, sums.counts)))
    weights = _class_weights(counts)
    fits = [
        _solve(_Sums(total.squares - squares, total.classes - own, total.counts - rows), weights)
        for squares, own, rows in zip(sums.squares, sums.classes, sums.counts)
    ]
    logits = _left_out(features, folds, fits, labels)
    wanted = np.eye(labels, dtype=logits.dtype) - 1 / labels
    errors = [float(weights[classes] @ ((own - wanted[classes]) ** 2).sum(axis=1)) for own in logits]
    best = int(np.argmin(errors))
    whole, mean = _solve(total, weights)
    means = total.classes / np.maximum(total.counts, 1)[:, None]
    return ContrastModel(whole[best], mean, RIDGES[best], logits[best].copy(), folds, means)


def _left_out(
    features: np.ndarray, folds: np.ndarray, fits: list[tuple[list[np.ndarray], np.ndarray]], labels: int
) -> np.ndarray:
    """Logits [ridges, n, C] of each row by the fits without its fold: one pass over the rows."""
    found = np.empty((len(RIDGES), len(folds), labels), dtype=features.dtype)
    columns = [np.concatenate(own, axis=1) for own, _ in fits]  # [H, ridges · C]
    for part, rows in parts_of_rows(features):
        for fold, (_, mean) in enumerate(fits):
            inside = np.flatnonzero(folds[part] == fold)
            logits = (rows[inside] - mean) @ columns[fold]
            found[:, part.start + inside] = logits.reshape(len(inside), len(RIDGES), labels).swapaxes(0, 1)
    return found


@dataclass(frozen=True)
class _Sums:
    """Over rows: Σ w x xᵀ [H, H], Σ x by class [C, H], and rows by class [C]; or these by fold, with one axis more."""

    squares: np.ndarray
    classes: np.ndarray
    counts: np.ndarray


def _stratified(classes: np.ndarray) -> np.ndarray:
    """Fold of each row [n]: rows of a class in turn, in a fixed random order; at most FOLDS, and as the classes allow.

    A class of one row is never predicted by a fit that has seen it.
    """
    _, counts = np.unique(classes, return_counts=True)
    most = max(2, min(FOLDS, int(np.sort(counts)[-2])))
    folds = np.empty(len(classes), dtype=np.int8)
    order = np.random.default_rng(0).permutation(len(classes))
    for value in np.unique(classes):
        members = order[classes[order] == value]
        folds[members] = np.arange(len(members)) % most
    return folds


def _class_weights(counts: np.ndarray) -> np.ndarray:
    """Weight [C] of a row of each class: all classes weigh the same, and n rows n."""
    return np.where(counts > 0, counts.sum() / (counts > 0).sum() / np.maximum(counts, 1), 0.0)


def _fold_sums(features: np.ndarray, classes: np.ndarray, folds: np.ndarray, labels: int) -> _Sums:
    number, width = int(folds.max()) + 1, features.shape[1]
    weights = _class_weights(np.bincount(classes, minlength=labels))
    squares, sums = np.zeros((number, width, width)), np.zeros((number, labels, width))
    counts = np.zeros((number, labels))
    np.add.at(counts, (folds, classes), 1)
    for part, rows in parts_of_rows(features):
        for fold in range(number):
            inside = folds[part] == fold
            mine, own = rows[inside], classes[part][inside]
            squares[fold] += (mine * weights[own, None]).T @ mine
            sums[fold] += np.eye(labels)[own].T @ mine
    return _Sums(squares, sums, counts)


def _solve(sums: _Sums, weights: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights [H, C] for each of RIDGES, and the mean [H], from sums over rows."""
    present = sums.counts > 0
    mean = (sums.classes[present] / sums.counts[present, None]).mean(axis=0)
    whole = weights @ sums.classes
    gram = sums.squares - np.outer(whole, mean) - np.outer(mean, whole)
    gram += (weights @ sums.counts) * np.outer(mean, mean)
    labels = len(weights)
    contrasts = (weights[:, None] * (sums.classes - sums.counts[:, None] * mean)).T  # [H, C]
    cross = contrasts @ (np.eye(labels) - 1 / labels)
    squares, turns = np.linalg.eigh(gram)
    squares = np.maximum(squares, 0.0)
    level = float(squares.mean()) or 1.0
    turned = turns.T @ cross
    return [turns @ (turned / (squares + ridge * level)[:, None]) for ridge in RIDGES], mean
