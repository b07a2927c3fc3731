"""Which sources pull the model the way the target does: scores, intervals, verdicts and mixture weights."""

from sgg_ray.alignment.report import AlignmentReport, SourceAlignment
from sgg_ray.alignment.score import Evidence, Score, score_alignment
from sgg_ray.alignment.verdict import Verdict, verdict
from sgg_ray.alignment.weights import WEIGHTINGS, mixture_weights

__all__ = [
    "WEIGHTINGS",
    "AlignmentReport",
    "Evidence",
    "Score",
    "SourceAlignment",
    "Verdict",
    "mixture_weights",
    "score_alignment",
    "verdict",
]
