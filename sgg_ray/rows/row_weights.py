"""From the scores of a source's rows to how often each is drawn in training."""

from collections.abc import Callable

import numpy as np

from sgg_ray.rows.row_rankings import Ranking

MUCH = (
    0.1  # share of wrong labels from which on leaving rows out pays; sources taken for clean have up to 0.06
)


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


def influence_ranking(influence: np.ndarray, wrong: np.ndarray) -> Ranking:
    """The ranking by influence [n], with the probabilities [n] that labels are wrong.

    No label is taken for wrong where fewer than MUCH of them are expected to be: those that look wrong in a clean
    source are mostly the hard ones, which teach most.
    """
    doubtful = suspects(wrong) if wrong.mean() >= MUCH else np.zeros(len(wrong), dtype=bool)
    return Ranking(influence, 1 - wrong, doubtful)


def _keep(ranking: Ranking, share: float) -> np.ndarray:
    assert ranking.doubtful is not None
    return (~ranking.doubtful).astype(float)


def _soft(ranking: Ranking, share: float) -> np.ndarray:
    assert ranking.right is not None
    return ranking.right.copy()


def _top(ranking: Ranking, share: float) -> np.ndarray:
    rows = len(ranking.score)
    sound = np.arange(rows) if ranking.doubtful is None else np.flatnonzero(~ranking.doubtful)
    order = sound[np.argsort(-ranking.score[sound], kind="stable")]
    weights = np.zeros(rows)
    weights[order[: max(1, round(share * rows))]] = 1.0
    return weights


ROW_WEIGHTINGS: dict[str, Callable[[Ranking, float], np.ndarray]] = {
    "keep": _keep,
    "soft": _soft,
    "top": _top,
}


def row_weights(weighting: str, ranking: Ranking, share: float) -> np.ndarray:
    """Weights [n] in [0, 1], by which rows are drawn within their source; all 1 where none would be left.

    Args:
        weighting: keep: 0 for the doubtful rows, else 1; soft: the probability that the label is right; top: 1 for the
            ``share`` of the rows with the highest scores that are not doubtful, else 0.
        ranking: for keep and soft one that says which labels are wrong.
        share: of all rows, in (0, 1].
    """
    weights = ROW_WEIGHTINGS[weighting](ranking, share)
    return weights if weights.any() else np.ones(len(weights))
