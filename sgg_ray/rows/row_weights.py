"""From the scores of a source's rows to how often each is drawn in training."""

from collections.abc import Callable

import numpy as np


def suspects(wrong: np.ndarray) -> np.ndarray:
    """Which rows [n] to take for wrong: the likeliest ones, as many as are expected to be wrong, Σ P(wrong).

    A threshold of one half would spare nearly all of a source with four wrong labels in ten, where each single row
    remains doubtful although their number is known.

    Args:
        wrong: probability [n] that the label is wrong.
    """
    found = np.zeros(len(wrong), dtype=bool)
    found[np.argsort(-wrong, kind="stable")[: round(float(wrong.sum()))]] = True
    return found


def _keep(wrong: np.ndarray, influence: np.ndarray, share: float) -> np.ndarray:
    return (~suspects(wrong)).astype(float)


def _soft(wrong: np.ndarray, influence: np.ndarray, share: float) -> np.ndarray:
    return 1 - wrong


def _top(wrong: np.ndarray, influence: np.ndarray, share: float) -> np.ndarray:
    sound = np.flatnonzero(~suspects(wrong))
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
    """Weights [n] in [0, 1], by which rows are drawn within their source; all 1 where none would be left.

    Args:
        weighting: keep: 0 for :func:`suspects`, else 1; soft: the probability that the label is right; top: 1 for the
            ``share`` of the rows that have the most influence and are no suspects, else 0.
        wrong: probability [n] that the label is wrong.
        influence: [n].
        share: of all rows, in (0, 1].
    """
    weights = ROW_WEIGHTINGS[weighting](wrong, influence, share)
    return weights if weights.any() else np.ones(len(wrong))
