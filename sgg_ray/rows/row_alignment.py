"""How each row's gradient lies to the target's, in closed form: gradients of rows are never made.

At a zero-initialised head over features x (less their balanced mean, which a bias takes up) the gradient of the
contrast loss of a row with label y is −r ⊗ x, r = onehot(y) − 1/C. Inner products factor:
⟨r ⊗ x, r' ⊗ x'⟩ = ⟨r, r'⟩⟨x, x'⟩, and with a mean gradient M [C, H] it is −rᵀ M x. See docs/method.md, *Rows*.
"""

from dataclasses import dataclass

import numpy as np

from sgg_ray.rows.contrast_model import parts_of_rows


@dataclass(frozen=True)
class RowAlignment:
    """How each row agrees with the target.

    Attributes:
        cosine: of its gradient with the target's mean gradient [n]; 0 where one of them is zero.
        influence: how much a step on the row lowers the target's loss [n], preconditioned by the noise; in any unit.
    """

    cosine: np.ndarray
    influence: np.ndarray


def mean_gradient(
    features: np.ndarray, residuals: np.ndarray, classes: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """Mean gradient [C, H] of a task's rows, every class weighing the same.

    Args:
        features: [n, H].
        residuals: onehot(y) − 1/C, or these in another task's labels [n, C].
        classes: [n].
        mean: [H] what the features are taken less of.
    """
    counts = np.bincount(classes)
    weight = 1 / ((counts > 0).sum() * counts[classes])
    total = np.zeros((residuals.shape[1], features.shape[1]))
    for part, rows in parts_of_rows(features):
        total -= (residuals[part] * weight[part, None]).T @ (rows - mean)
    return total


def align_rows(
    features: np.ndarray,
    residuals: np.ndarray,
    mean: np.ndarray,
    target: np.ndarray,
    preconditioned: np.ndarray,
) -> RowAlignment:
    """Alignment and influence of rows at a head.

    Args:
        features: [n, H]; may be a memory map.
        residuals: [n, C], in the target's labels.
        mean: [H], of the source's features.
        target: mean gradient of the target's shots [C, H].
        preconditioned: the target's expected gradient times the inverse covariance of the noise [C, H].
    """
    cosine, influence = np.zeros(len(features)), np.zeros(len(features))
    length = float(np.linalg.norm(target))
    for part, rows in parts_of_rows(features):
        centred, residual = rows - mean, residuals[part]
        products = -((centred @ target.T) * residual).sum(axis=1)
        lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(residual, axis=1) * length
        cosine[part] = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        influence[part] = -((centred @ preconditioned.T) * residual).sum(axis=1)
    return RowAlignment(cosine, influence)


def align_gradients(gradients: np.ndarray, target: np.ndarray) -> RowAlignment:
    """Alignment of rows from their (sketched) gradients [n, D] and the target's mean gradient [D]."""
    cosine, influence = np.zeros(len(gradients)), np.zeros(len(gradients))
    length = float(np.linalg.norm(target))
    for part, rows in parts_of_rows(gradients):
        products = rows @ target
        lengths = np.linalg.norm(rows, axis=1) * length
        cosine[part] = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        influence[part] = products
    return RowAlignment(cosine, influence)


def row_products(
    features: np.ndarray, residuals: np.ndarray, others: np.ndarray, their_residuals: np.ndarray
) -> np.ndarray:
    """Inner products [n, m] of the gradients of two sets of rows at a head, from centred features."""
    return (features @ others.T) * (residuals @ their_residuals.T)


def opposing_rows(products: np.ndarray, most: int) -> np.ndarray:
    """The columns that oppose each row of ``products`` [n, m] most [n, most], the strongest first; −1 for none."""
    found = np.full((len(products), most), -1, dtype=np.int16)
    count = min(most, products.shape[1])
    order = np.argpartition(products, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(products, order, axis=1)
    turns = np.argsort(values, axis=1, kind="stable")
    order, values = (np.take_along_axis(one, turns, axis=1) for one in (order, values))
    found[:, :count] = np.where(values < 0, order, -1)
    return found
