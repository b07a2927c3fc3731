"""Which sources pull the model the way the target does: scores, intervals, verdicts and mixture weights."""

from sgg_ray.alignment.alignment_report import AlignmentReport, SourceAlignment
from sgg_ray.alignment.alignment_score import Evidence, Score, score_alignment
from sgg_ray.alignment.bandit import BANDITS, Bandit
from sgg_ray.alignment.contradiction import OwnHead, contradictions
from sgg_ray.alignment.domains import Texts, domain_similarity, text_features
from sgg_ray.alignment.noise import Noise, within_classes
from sgg_ray.alignment.pooled import (
    OWN_HEAD,
    PooledEstimate,
    label_name_expectation,
    matched_cosine,
    matching,
    pooled_mean,
    pooled_scores,
)
from sgg_ray.alignment.verdict import Verdict, verdict
from sgg_ray.alignment.weights import WEIGHTINGS, mixture_strength, mixture_weights

__all__ = [
    "BANDITS",
    "OWN_HEAD",
    "WEIGHTINGS",
    "AlignmentReport",
    "Bandit",
    "Evidence",
    "Noise",
    "OwnHead",
    "PooledEstimate",
    "Score",
    "SourceAlignment",
    "Texts",
    "Verdict",
    "contradictions",
    "domain_similarity",
    "label_name_expectation",
    "matched_cosine",
    "matching",
    "mixture_strength",
    "mixture_weights",
    "pooled_mean",
    "pooled_scores",
    "score_alignment",
    "text_features",
    "verdict",
    "within_classes",
]
