"""How sources are scored: gradients of tasks, their summaries, and scores from these. No Ray, no files."""

from sgg_ray.scoring.class_contrasts import class_mean_head, row_features
from sgg_ray.scoring.layer_comparison import LayerComparison, LayerGradients
from sgg_ray.scoring.task_gradients import (
    SourceGradients,
    Space,
    TargetGradients,
    TaskSummariser,
    comparison_space,
    spaces_of,
)
from sgg_ray.scoring.task_scores import score_tasks, scores_of

__all__ = [
    "LayerComparison",
    "LayerGradients",
    "SourceGradients",
    "Space",
    "TargetGradients",
    "TaskSummariser",
    "class_mean_head",
    "comparison_space",
    "row_features",
    "score_tasks",
    "scores_of",
    "spaces_of",
]
