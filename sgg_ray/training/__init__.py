"""The training loop, its checkpoints, and the gradients of tasks. Knows nothing of Ray."""

from sgg_ray.training.answers import Answers, answer, generate_texts
from sgg_ray.training.checkpoint import check_checkpoint, load_checkpoint, save_checkpoint
from sgg_ray.training.choice import Choice, choose
from sgg_ray.training.communicator import Communicator, Distributed, SingleProcess
from sgg_ray.training.evaluate import predict
from sgg_ray.training.job import Hooks, Outcome, Predicted, plain, run_training
from sgg_ray.training.setfit import check_setfit
from sgg_ray.training.time_estimate import TimeEstimate, estimate_time, passes_per_step
from sgg_ray.training.trainer import Event, Trainer, WeightUpdates

__all__ = [
    "Answers",
    "Choice",
    "Communicator",
    "Distributed",
    "Event",
    "Hooks",
    "Outcome",
    "Predicted",
    "SingleProcess",
    "TimeEstimate",
    "Trainer",
    "WeightUpdates",
    "answer",
    "check_checkpoint",
    "check_setfit",
    "choose",
    "estimate_time",
    "generate_texts",
    "load_checkpoint",
    "passes_per_step",
    "plain",
    "predict",
    "run_training",
    "save_checkpoint",
]
