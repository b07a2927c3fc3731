"""How sources are scored: gradients of tasks, their summaries, and scores from these. No Ray, no files."""

from sgg_ray.scoring.class_contrasts import class_mean_head, row_features
from sgg_ray.scoring.layer_comparison import LayerComparison, LayerGradients
from sgg_ray.scoring.pool_gradients import PoolGradients, pool_gradients, score_tasks
from sgg_ray.scoring.pool_report import alignment_report, run_report
from sgg_ray.scoring.row_facts import RowFacts, facts_of
from sgg_ray.scoring.row_scores import TaskRows, score_rows
from sgg_ray.scoring.row_trajectories import (
    Checkpoint,
    flat_parameters,
    set_parameters,
    shares_of_rates,
    training_losses,
    trajectory_vectors,
)
from sgg_ray.scoring.row_vectors import (
    WITH_LABELS,
    RowVectors,
    name_vectors,
    row_vectors,
    vectors_of_stretches,
)
from sgg_ray.scoring.sharded_pool import score_folds_sharded, score_sharded
from sgg_ray.scoring.spaces import Space, comparison_space, comparison_spaces
from sgg_ray.scoring.task_gradients import SourceGradients, TargetGradients, TaskSummariser
from sgg_ray.scoring.task_scores import mixture
from sgg_ray.scoring.weighted_rows import check_row_scores, score_pool, vectors_of, weigh_rows, with_weights

__all__ = [
    "WITH_LABELS",
    "Checkpoint",
    "LayerComparison",
    "LayerGradients",
    "PoolGradients",
    "RowFacts",
    "RowVectors",
    "SourceGradients",
    "Space",
    "TargetGradients",
    "TaskRows",
    "TaskSummariser",
    "alignment_report",
    "check_row_scores",
    "class_mean_head",
    "comparison_space",
    "comparison_spaces",
    "facts_of",
    "flat_parameters",
    "mixture",
    "name_vectors",
    "pool_gradients",
    "row_features",
    "row_vectors",
    "run_report",
    "score_folds_sharded",
    "score_pool",
    "score_rows",
    "score_sharded",
    "score_tasks",
    "set_parameters",
    "shares_of_rates",
    "training_losses",
    "trajectory_vectors",
    "vectors_of",
    "vectors_of_stretches",
    "weigh_rows",
    "with_weights",
]
