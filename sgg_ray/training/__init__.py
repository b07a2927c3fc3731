"""The training loop, its checkpoints, and the gradients of tasks. Knows nothing of Ray."""

from sgg_ray.training.answers import Answers, answer, generate_texts
from sgg_ray.training.checkpoint import check_checkpoint, load_checkpoint, save_checkpoint
from sgg_ray.training.communicator import Communicator, Distributed, SingleProcess
from sgg_ray.training.evaluate import predict
from sgg_ray.training.job import Hooks, Outcome, Predicted, plain, run_training
from sgg_ray.training.layers import LayerComparison, LayerGradients
from sgg_ray.training.loop import Event, Trainer, WeightUpdates
from sgg_ray.training.scoring import score_tasks, scores_of
from sgg_ray.training.setfit import check_setfit
from sgg_ray.training.summaries import (
    SourceGradients,
    Space,
    TargetGradients,
    TaskSummariser,
    comparison_space,
    spaces_of,
)

__all__ = [
    "Answers",
    "Communicator",
    "Distributed",
    "Event",
    "Hooks",
    "LayerComparison",
    "LayerGradients",
    "Outcome",
    "Predicted",
    "SingleProcess",
    "SourceGradients",
    "Space",
    "TargetGradients",
    "TaskSummariser",
    "Trainer",
    "WeightUpdates",
    "answer",
    "check_checkpoint",
    "check_setfit",
    "comparison_space",
    "generate_texts",
    "load_checkpoint",
    "plain",
    "predict",
    "run_training",
    "save_checkpoint",
    "score_tasks",
    "scores_of",
    "spaces_of",
]
