"""Does a model know how often it is right? Temperature scaling and the expected calibration error."""

from __future__ import annotations

import numpy as np

BINS = 15
COLDEST, HOTTEST = 1e-2, 1e2


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of ``probabilities`` [n, C]: T > 1 makes them less sure, and none changes its class."""
    from scipy.special import softmax

    tiny = np.finfo(np.float64).tiny
    return softmax(np.log(np.maximum(probabilities, tiny, dtype=np.float64)) / temperature, axis=1)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes ``probabilities`` [n, C] fit ``labels`` [n] best (Guo et al. 2017).

    The rows must be ones that the model was not trained on. With few of them the most likely temperature can be
    0 or infinite (all right, or no better than chance), so that of log T a normal prior of mean 0 and variance 1 is
    assumed, which weighs as much as a row or two.

    Raises ValueError when there are no rows.
    """
    from scipy.optimize import minimize_scalar

    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if not len(labels) or len(labels) != len(probabilities):
        raise ValueError(f"expected as many labels as rows, found {labels.shape}, {probabilities.shape}")

    def loss(log_temperature: float) -> float:
        true = scaled(probabilities, np.exp(log_temperature))[np.arange(len(labels)), labels]
        return -np.log(np.maximum(true, np.finfo(np.float64).tiny)).sum() + log_temperature**2 / 2

    found = minimize_scalar(loss, bounds=np.log([COLDEST, HOTTEST]), method="bounded")
    return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]


class Reliability:
    """How confident predictions were and how often they were right, in bins of confidence; rows may come in parts."""

    def __init__(self):
        self.rows, self.confident, self.right = np.zeros((3, BINS))

    def add(self, confidence: np.ndarray, right: np.ndarray) -> Reliability:
        """Count rows: confidence in [0, 1] and whether the prediction was right, [n] each."""
        place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
        self.rows += np.bincount(place, minlength=BINS)
        self.confident += np.bincount(place, weights=confidence, minlength=BINS)
        self.right += np.bincount(place, weights=right, minlength=BINS)
        return self

    @property
    def error(self) -> float:
        """Expected calibration error: mean |share right − mean confidence| over the bins, weighted by their rows."""
        return float(np.abs(self.right - self.confident).sum() / self.rows.sum())


def calibration_errors(probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, float]:
    """Expected calibration errors on rows that neither training nor temperature has seen, without and with it.

    Args:
        probabilities: of each row's classes [n, C].
        labels: the true classes [n].
    """
    right = probabilities.argmax(axis=1) == labels
    before, after = probabilities.max(axis=1), scaled(probabilities, temperature).max(axis=1)
    return {
        "ece_uncalibrated": Reliability().add(before, right).error,
        "ece": Reliability().add(after, right).error,
    }
