"""Which sources pull the model the way the target does: scores, intervals, verdicts and mixture weights."""

from sgg_ray.alignment.contradiction import OwnHead, contradictions
from sgg_ray.alignment.likeness import Texts, likeness, texts_of
from sgg_ray.alignment.noise import Noise, within_classes
from sgg_ray.alignment.pooled import (
    OWN_HEAD,
    Vouched,
    expected_by_names,
    matched_cosine,
    matching,
    pooled_scores,
    vouched_mean,
)
from sgg_ray.alignment.report import AlignmentReport, SourceAlignment
from sgg_ray.alignment.score import Evidence, Score, score_alignment
from sgg_ray.alignment.verdict import Verdict, verdict
from sgg_ray.alignment.weights import WEIGHTINGS, mixture_weights

__all__ = [
    "OWN_HEAD",
    "WEIGHTINGS",
    "AlignmentReport",
    "Evidence",
    "Noise",
    "OwnHead",
    "Score",
    "SourceAlignment",
    "Texts",
    "Verdict",
    "Vouched",
    "contradictions",
    "expected_by_names",
    "likeness",
    "matched_cosine",
    "matching",
    "mixture_weights",
    "pooled_scores",
    "score_alignment",
    "texts_of",
    "verdict",
    "vouched_mean",
    "within_classes",
]
