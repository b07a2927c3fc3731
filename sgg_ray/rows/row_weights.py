"""From the scores of a source's rows to how often each is drawn in training."""

from collections.abc import Callable

import numpy as np

WRONG = 0.5  # probability above which a label is taken to be wrong


def _keep(wrong: np.ndarray, influence: np.ndarray, share: float) -> np.ndarray:
    return (wrong <= WRONG).astype(float)


def _soft(wrong: np.ndarray, influence: np.ndarray, share: float) -> np.ndarray:
    return 1 - wrong


def _top(wrong: np.ndarray, influence: np.ndarray, share: float) -> np.ndarray:
    sound = np.flatnonzero(wrong <= WRONG)
    order = sound[np.argsort(-influence[sound], kind="stable")]
    weights = np.zeros(len(wrong))
    weights[order[: max(1, round(share * len(wrong)))]] = 1.0
    return weights


ROW_WEIGHTINGS: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "keep": _keep,
    "soft": _soft,
    "top": _top,
}


def row_weights(weighting: str, wrong: np.ndarray, influence: np.ndarray, share: float) -> np.ndarray:
    """Weights [n] in [0, 1], by which rows are drawn within their source.

    Args:
        weighting: keep: 1 for rows whose label is more likely right than wrong, else 0; soft: the probability that the
            label is right; top: 1 for the ``share`` of the rows with the most influence whose label is likely right.
        wrong: probability [n] that the label is wrong.
        influence: [n].
        share: of all rows, in (0, 1].
    """
    weights = ROW_WEIGHTINGS[weighting](wrong, influence, share)
    return weights if weights.any() else np.ones(len(wrong))
