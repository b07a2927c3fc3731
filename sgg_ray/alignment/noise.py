"""How a source's examples differ within their classes: the noise that few examples of another task have too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Noise:
    """Covariance of a row of a mean gradient over its examples: directionsᵀ·directions + rest·I, [width, width].

    Small enough to be sent: a few directions in which examples differ most, and one number for all others.
    """

    directions: np.ndarray  # [k, width], k ≥ 0: each as long as the standard deviation along it
    rest: float  # variance in every direction, beside that

    @property
    def total(self) -> float:
        """Trace of the noise covariance: the expected squared distance of one example's gradient from its mean."""
        return float((self.directions.astype(np.float64) ** 2).sum()) + self.rest * self.directions.shape[1]

    def variance(self, rows: np.ndarray) -> float:
        """Σ over the rows of ``rows`` [n, width] of the noise's variance along each, times its squared length."""
        along = float(((self.directions @ rows.T) ** 2).sum())
        return along + self.rest * float((rows**2).sum())


def balanced_examples(classes: np.ndarray) -> float:
    """How many examples in C equal classes would leave the mean of class means as uncertain: C² / Σ_c 1/n_c."""
    _, counts = np.unique(classes, return_counts=True)
    return len(counts) ** 2 / float((1.0 / counts).sum())


def within_classes(features: np.ndarray, classes: np.ndarray, most: int) -> Noise:
    """Noise of a balanced contrast at a zero-initialised head, from the examples' features [n, width].

    A row of the contrast is Σ_c (1[c = row] − 1/C)/C · f̄_c over C classes. With Σ the covariance of features within
    classes its covariance, mean over the rows, is (1 − 1/C)/(C·n)·Σ, n being the :func:`balanced_examples`. Kept are
    the ``most`` leading directions of Σ.

    Args:
        features: [n, width].
        classes: of these examples [n].
        most: number of directions at most, 0 or more.
    """
    numbers = np.unique(classes)
    left = np.concatenate([features[classes == c] - features[classes == c].mean(axis=0) for c in numbers])
    width = features.shape[1]
    scale = (1.0 - 1.0 / len(numbers)) / (len(numbers) * balanced_examples(classes))
    left = left.astype(np.float64) * np.sqrt(scale / max(len(features) - len(numbers), 1))
    # Eigenvectors of the smaller Gram matrix: a third of the time of a singular value decomposition.
    tall = len(left) > width
    squares, turns = np.linalg.eigh(left.T @ left if tall else left @ left.T)
    squares, turns = np.maximum(squares[::-1], 0.0), turns[:, ::-1][:, :most]
    directions = np.sqrt(squares[:most])[:, None] * turns.T if tall else turns.T @ left
    return Noise(directions.astype(features.dtype), float(squares[most:].sum()) / width)


@dataclass(frozen=True)
class Metric:
    """Inverse of a covariance base·I + directionsᵀ·directions, of which nothing of size width² is ever made."""

    directions: np.ndarray  # [m, width]
    base: float  # above 0

    def apply(self, columns: np.ndarray) -> np.ndarray:
        """Inverse covariance times ``columns`` [width, k], by Woodbury's identity."""
        if not len(self.directions):
            return columns / self.base
        inner = self.base * np.eye(len(self.directions)) + self.directions @ self.directions.T
        return (columns - self.directions.T @ np.linalg.solve(inner, self.directions @ columns)) / self.base


def pooled_metric(noises: Sequence[Noise], width: int, share: float) -> Metric:
    """Inverse of share·Σ̄ + (1 − share)/width·I, Σ̄ being the mean of the sources' covariances, each of trace 1.

    Without any direction this is width·I: noise is then taken to be the same everywhere.
    """
    known = [noise for noise in noises if len(noise.directions) and noise.total > 0.0]
    if not known:
        return Metric(np.zeros((0, width)), 1.0 / width)
    weights = [share / (len(known) * noise.total) for noise in known]
    directions = np.concatenate([np.sqrt(w) * noise.directions for w, noise in zip(weights, known)])
    base = (1.0 - share) / width + sum(w * noise.rest for w, noise in zip(weights, known))
    return Metric(directions.astype(np.float64), base)
