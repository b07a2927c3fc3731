"""How good a model is, how steady its training was, and whether a difference is more than chance."""

from sgg_ray.evaluation.calibration import Reliability, calibration_errors, fit_temperature, scaled
from sgg_ray.evaluation.classification import (
    ClassificationMetrics,
    OrdinalMetrics,
    evaluate_classification,
    median_level,
    metrics_of,
)
from sgg_ray.evaluation.generation_metrics import (
    AnswerScores,
    GenerationComparison,
    GenerationMetrics,
    compare_generation,
    evaluate_generation,
    normalised,
    rouge_l,
    score_answers,
    share_interval,
)
from sgg_ray.evaluation.kept_model import (
    BASELINE,
    GUIDED,
    HeldOutComparison,
    compare_held_out,
    compare_losses,
)
from sgg_ray.evaluation.label_sets import (
    THRESHOLD,
    LabelSetComparison,
    LabelSetMetrics,
    compare_label_sets,
    evaluate_label_sets,
    fit_threshold,
    given_labels,
    metrics_of_counts,
)
from sgg_ray.evaluation.measures import Comparison, Metrics
from sgg_ray.evaluation.paired import PairedComparison, compare_paired
from sgg_ray.evaluation.regression import (
    RegressionComparison,
    RegressionMetrics,
    compare_regression,
    evaluate_regression,
    spearman,
)
from sgg_ray.evaluation.selection import Difference, gains_of_best
from sgg_ray.evaluation.stability import GradientStability, directional_alignment, gradient_stability
from sgg_ray.evaluation.standings import Cell, Contrast, Ranking, Standing, mean_ranks, standings
from sgg_ray.evaluation.trials import Trial, gains_of_first, ranked, within_noise

__all__ = [
    "BASELINE",
    "GUIDED",
    "THRESHOLD",
    "AnswerScores",
    "Cell",
    "ClassificationMetrics",
    "Comparison",
    "Contrast",
    "Difference",
    "GenerationComparison",
    "GenerationMetrics",
    "GradientStability",
    "HeldOutComparison",
    "LabelSetComparison",
    "LabelSetMetrics",
    "Metrics",
    "OrdinalMetrics",
    "PairedComparison",
    "Ranking",
    "RegressionComparison",
    "RegressionMetrics",
    "Reliability",
    "Standing",
    "Trial",
    "calibration_errors",
    "compare_generation",
    "compare_held_out",
    "compare_label_sets",
    "compare_losses",
    "compare_paired",
    "compare_regression",
    "directional_alignment",
    "evaluate_classification",
    "evaluate_generation",
    "evaluate_label_sets",
    "evaluate_regression",
    "fit_temperature",
    "fit_threshold",
    "gains_of_best",
    "gains_of_first",
    "given_labels",
    "gradient_stability",
    "mean_ranks",
    "median_level",
    "metrics_of",
    "metrics_of_counts",
    "normalised",
    "ranked",
    "rouge_l",
    "scaled",
    "score_answers",
    "share_interval",
    "spearman",
    "standings",
    "within_noise",
]
