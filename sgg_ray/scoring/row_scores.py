"""Scores of every row of a pool, from vectors of rows: pure arrays, no model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sgg_ray.rows import (
    ROW_RANKINGS,
    Candidates,
    Ranking,
    influence_ranking,
    outlyingness,
    robust_deviation,
    row_weights,
    suspects,
)
from sgg_ray.scoring.gradient_rows import GradientPool
from sgg_ray.scoring.head_pass import MOST_AGAINST
from sgg_ray.scoring.head_rows import HeadPool
from sgg_ray.scoring.row_facts import duplicates_of, equal_texts
from sgg_ray.scoring.row_trajectories import trajectory_scores
from sgg_ray.scoring.row_vectors import RowVectors
from sgg_ray.tasks import Task


@dataclass(frozen=True)
class TaskRows:
    """Scores of all rows of a task, side by side.

    Attributes:
        alignment: cosine of the row's gradient with the target's mean gradient [n], or the mean of cosines over the
            checkpoints of a warm-up training; of the target's own shots with that of the others.
        influence: how much a step on the row lowers the target's loss [n], in units of the pool's mean.
        wrong: probability that the label is wrong [n].
        suggested: the most likely label [n]; −1 where there is no other label to name.
        duplicate_of: an earlier row with the same text, or nearly [n]; −1 for none.
        outlying: distance from the class in robust standard deviations [n].
        against: shots of the target that speak against the row most [n, MOST_AGAINST], −1 for none.
        rate: estimated share of wrong labels.
        ranking: what ``alignment.row_weighting`` goes by; None where there are no scores.
        note: why there are no scores, if there are none.
    """

    task: Task
    alignment: np.ndarray
    influence: np.ndarray
    wrong: np.ndarray
    suggested: np.ndarray
    duplicate_of: np.ndarray
    outlying: np.ndarray
    against: np.ndarray = field(repr=False)
    rate: float
    ranking: Ranking | None = field(default=None, repr=False)
    note: str = ""

    @property
    def suspects(self) -> np.ndarray:
        """Which rows [n] to take for wrong; see ``sgg_ray.rows.suspects``."""
        return suspects(self.wrong)

    def weights(self, weighting: str, share: float) -> np.ndarray:
        """How often each row is drawn in training, relative to the others [n]; see ``sgg_ray.rows.row_weights``."""
        if self.ranking is None or weighting == "none":
            return np.ones(len(self.task.train))
        return row_weights(weighting, self.ranking, share)


def score_rows(
    target: RowVectors,
    sources: Sequence[RowVectors],
    shares: Mapping[str, float],
    contradicting: Collection[str] = (),
    *,
    language_model: bool = False,
    share_labels: bool = False,
    ranked_by: str = "influence",
    seed: int = 0,
) -> dict[str, TaskRows]:
    """Score every row of the target and its sources, by task name, the target first.

    Args:
        target: its shots.
        shares: of the sources in the mixture: how much their word counts for the others.
        contradicting: sources whose labels contradict the target's as a whole.
        language_model: vectors are sketched gradients of one, not features of an encoder.
        share_labels: ``train.share_labels``.
        ranked_by: ``alignment.row_scores``, one of ROW_RANKINGS or influence.
        seed: of a ranking that is random.
    """
    pool = GradientPool(target, sources) if language_model else HeadPool(target, sources, share_labels)
    found = {}
    for one in (target, *sources):
        try:
            rows = _score(pool, one, shares, one.task.name in contradicting)
            if one is not target and one.trajectory is not None:
                rows = replace(rows, alignment=_over_checkpoints(target, one))
            if one is not target and ranked_by != "influence":
                rows = replace(rows, ranking=rank_rows(pool, one, rows.alignment, ranked_by, seed))
            found[one.task.name] = rows
        except ValueError as error:
            found[one.task.name] = _without_scores(one.task, str(error))
    usual = _usual_influence([found[one.task.name] for one in sources])
    for rows in found.values():
        np.divide(rows.influence, usual, out=rows.influence)
    return found


def _over_checkpoints(target: RowVectors, own: RowVectors) -> np.ndarray:
    assert own.trajectory is not None
    assert target.trajectory is not None
    assert target.rates is not None
    return trajectory_scores(
        own.trajectory, target.trajectory, target.task.train.labels, target.rates
    ).astype(np.float32)


def _usual_influence(sources: Sequence[TaskRows]) -> float:
    """Mean size of the influence of the sources' rows, which is its unit."""
    sizes = [np.abs(rows.influence) for rows in sources if rows.ranking is not None]
    total = sum(float(one.sum(dtype=np.float64)) for one in sizes)
    return total / max(sum(map(len, sizes)), 1) or 1.0


def _score(
    pool: "HeadPool | GradientPool",
    own: RowVectors,
    shares: Mapping[str, float],
    contradicts: bool,
) -> TaskRows:
    errors = pool.label_errors(own, shares, contradicts)
    alignment = pool.alignment(own)
    if own.facts is not None:
        duplicates, outlying = own.facts.duplicate_of, own.facts.outlying
    elif pool.models:
        duplicates = duplicates_of(own)
        outlying = outlyingness(own.vectors, own.task.train.labels, pool.models[own.task.name])
    else:
        duplicates = equal_texts(own.task)  # gradients of labels are alike for other reasons than their texts
        outlying = robust_deviation(np.log(np.linalg.norm(own.vectors, axis=1) + 1e-12))
    return TaskRows(
        own.task,
        alignment.cosine,
        alignment.influence,
        errors.wrong,
        errors.suggested,
        duplicates,
        outlying,
        pool.opposing(own),
        errors.rate,
        influence_ranking(alignment.influence, errors.wrong),
    )


def rank_rows(
    pool: "HeadPool | GradientPool", own: RowVectors, cosine: np.ndarray, ranked_by: str, seed: int
) -> Ranking:
    """A source's rows ranked as others rank them.

    Args:
        cosine: of each row's gradient with the target's mean gradient [n].
        ranked_by: one of ROW_RANKINGS.
        seed: of a ranking that is random.
    """
    rows = Candidates(
        own.vectors,
        own.task.train.labels,
        np.asarray(pool.target.vectors),
        cosine,
        lambda: pool.shot_cosines(own),
        seed,
    )
    return ROW_RANKINGS[ranked_by](rows)


def _without_scores(task: Task, note: str) -> TaskRows:
    rows = len(task.train)
    nothing, none = np.full(rows, np.nan, np.float32), np.full(rows, -1, dtype=np.int32)
    return TaskRows(
        task,
        nothing,
        nothing.copy(),
        np.zeros(rows, np.float32),
        none,
        none,
        np.zeros(rows, np.float32),
        np.full((rows, MOST_AGAINST), -1, dtype=np.int16),
        0.0,
        note=note,
    )
