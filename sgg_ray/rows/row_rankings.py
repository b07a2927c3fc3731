"""Ways to rank a source's rows that others use, to compare with: the better a row, the sooner it is trained on.

LESS (Xia et al. 2024, arXiv 2402.04333) takes rows by the cosine of their gradients with the target's, over the
checkpoints of a short training; nearest neighbours by that of their texts; greedy round-robin lets the shots take turns
(arXiv 2602.14696). The other two look at the source alone: rows of small loss, and confident learning (Northcutt et al.
2021, arXiv 1911.00068).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgg_ray.rows.contrast_model import parts_of_rows, unit_rows

FOLDS = 5  # of the classifier whose errors cleanlab looks at


@dataclass(frozen=True)
class Candidates:
    """What a ranking may look at.

    Attributes:
        vectors: features of the source's rows, or sketches of their gradients [n, D].
        classes: their labels [n].
        shots: vectors of the target's shots [m, D].
        cosine: of each row's gradient with the target's mean gradient [n], over checkpoints or not.
        shot_cosines: makes the cosines of each row's gradient with each shot's [n, m].
        seed: of what is random.
    """

    vectors: np.ndarray
    classes: np.ndarray
    shots: np.ndarray
    cosine: np.ndarray
    shot_cosines: Callable[[], np.ndarray]
    seed: int


@dataclass(frozen=True)
class Ranking:
    """Rows in an order, and what is said of their labels.

    Attributes:
        score: the more, the sooner a row is trained on [n].
        right: probability that a row's label is right [n]; None where the method does not say.
        doubtful: rows whose labels the method takes for wrong [n]; None where it does not say.
    """

    score: np.ndarray
    right: np.ndarray | None = None
    doubtful: np.ndarray | None = None


def _random(rows: Candidates) -> Ranking:
    return Ranking(np.random.default_rng([rows.seed, 11]).random(len(rows.classes)))


def _cosine(rows: Candidates) -> Ranking:
    return Ranking(rows.cosine)


def _neighbours(rows: Candidates) -> Ranking:
    """By the cosine of a row's text features with those of the shot that is nearest."""
    shots = unit_rows(rows.shots)
    return Ranking(
        np.concatenate([(unit_rows(part) @ shots.T).max(axis=1) for _, part in parts_of_rows(rows.vectors)])
    )


def _round_robin(rows: Candidates) -> Ranking:
    """The shots take turns; each takes the row whose gradient is most like its own, of those that are left."""
    cosines = rows.shot_cosines()
    orders = np.argsort(-cosines, axis=0, kind="stable").T
    places, score = [0] * len(orders), np.zeros(len(cosines))
    for turn in range(len(cosines)):
        shot = turn % len(orders)
        while score[orders[shot][places[shot]]] < 0:
            places[shot] += 1
        score[orders[shot][places[shot]]] = -1 - turn
    return Ranking(score)


def _loss(rows: Candidates) -> Ranking:
    """Small loss first, under logistic regression on all rows of the source."""
    features = unit_rows(rows.vectors)
    chances = _classifier().fit(features, rows.classes).predict_proba(features)
    return Ranking(_of_given(chances, rows.classes))


def _confident(rows: Candidates) -> Ranking:
    """By what a classifier that has not seen a row says of its label; cleanlab says which are wrong."""
    from cleanlab.filter import find_label_issues
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    values, classes = np.unique(rows.classes, return_inverse=True)
    rarest = int(np.bincount(classes).min())
    if len(values) < 2 or rarest < 2:
        raise ValueError("a class of one row: confident learning needs two rows of each class")
    folds = StratifiedKFold(min(FOLDS, rarest), shuffle=True, random_state=rows.seed)
    guessed = cross_val_predict(
        _classifier(), unit_rows(rows.vectors), classes, cv=folds, method="predict_proba"
    )
    chances = np.asarray(guessed)
    right = _of_given(chances, classes)
    return Ranking(right, right, find_label_issues(classes, chances, n_jobs=1))


def _classifier():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _of_given(chances: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Probability of each row's own label [n]; columns of ``chances`` are the labels that occur."""
    _, places = np.unique(classes, return_inverse=True)
    return chances[np.arange(len(places)), places]


ROW_RANKINGS: dict[str, Callable[[Candidates], Ranking]] = {
    "cosine": _cosine,
    "less": _cosine,
    "neighbours": _neighbours,
    "round_robin": _round_robin,
    "loss": _loss,
    "confident": _confident,
    "random": _random,
}
OF_FEATURES = ("neighbours", "loss", "confident")  # rankings that need features of texts, not gradients
OF_LABELS = ("confident",)  # rankings that say which labels are wrong
