"""The report of a pool's scores, from its gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sgg_ray.alignment import AlignmentReport, Score, SourceAlignment, matched_cosine, verdict
from sgg_ray.config import AlignmentConfig, Config
from sgg_ray.gradients import GradientSummary
from sgg_ray.scoring.pool_gradients import PoolGradients
from sgg_ray.scoring.task_scores import mixture


def run_report(config: Config, gradients: PoolGradients, *, step: int, seconds: float) -> AlignmentReport:
    """The :func:`alignment_report` of a run, with its model and seed."""
    details = {"model": config.model.path, "seed": config.seed}
    return alignment_report(gradients, config.alignment, step=step, seconds=seconds, details=details)


def alignment_report(
    gradients: PoolGradients,
    settings: AlignmentConfig,
    *,
    step: int = 0,
    seconds: float = 0.0,
    details: Mapping[str, Any] | None = None,
) -> AlignmentReport:
    """Score every source of a pool and say what each is good for. A pure function: no processes, no files.

    Args:
        gradients: of the target and its sources.
        settings: confidence and weighting are read.
        step: of the training at whose parameters the gradients were taken.
        seconds: that it took to take them.
        details: settings that are to stand in the report.
    """
    scores = gradients.scores(settings.confidence)
    weights = mixture(scores, settings.weighting)
    found = gradients.sources
    rows = [
        SourceAlignment(
            source=name,
            rows=found[name].summary.examples if name in found else 0,
            space=space.name,
            step=step,
            score=scores[name],
            verdict=verdict(scores[name]),
            weight=weights[name],
            note=gradients.failures.get(name, _contradiction(scores[name])),
        )
        for name, space in gradients.spaces.items()
    ]
    summaries = [
        [(target.summary, target.rows) for target in gradients.targets.values()],
        *([(found[name].summary, found[name].rows)] if name in found else [] for name in gradients.spaces),
    ]
    return AlignmentReport(
        target=gradients.target,
        step=step,
        weighting=settings.weighting,
        sources=rows,
        similarity=similarity(summaries),
        seconds=seconds,
        confidence=settings.confidence,
        details=dict(details or {}),
    )


def similarity(summaries: list[list[tuple[GradientSummary, int]]]) -> np.ndarray:
    """Cosines between mean gradients [n, n]; of tasks with other labels, under the best matching of these.

    NaN between tasks whose gradients cannot be compared.

    Args:
        summaries: of each task in its spaces, with the number of rows that its gradient has as a matrix.
    """
    size = len(summaries)
    matrix = np.full((size, size), np.nan)
    for row, mine in enumerate(summaries):
        for column, theirs in enumerate(summaries):
            same = [(a, b) for a, _ in mine for b, _ in theirs if (a.space, a.seed) == (b.space, b.seed)]
            matrices = [
                (a.mean.reshape(rows, -1), b.mean.reshape(others, -1))
                for a, rows in mine
                for b, others in theirs
                if a.seed is None and b.seed is None and len(a.mean) * others == len(b.mean) * rows
            ]
            if same:
                matrix[row, column] = same[0][0].cosine(same[0][1])
            elif matrices:
                matrix[row, column] = matched_cosine(*matrices[0])
    return matrix


def _contradiction(score: Score | None) -> str:
    return f"contradicts {score.opposes} on the labels they share" if score and score.opposes else ""
