"""The training loop, its checkpoints, and the gradients of tasks. Knows nothing of Ray."""

from sgg_ray.training.array_predictions import ArrayPredictions
from sgg_ray.training.averaging import check_unlabelled
from sgg_ray.training.checkpoint import check_checkpoint, load_checkpoint, save_checkpoint
from sgg_ray.training.choice import AS_THE_FILE, Choice, choose, only_member
from sgg_ray.training.communicator import Communicator, Distributed, SingleProcess, communicator_here
from sgg_ray.training.evaluate import predict
from sgg_ray.training.hooks import Hooks
from sgg_ray.training.job import plain, run_training
from sgg_ray.training.label_predictions import LabelPredictions
from sgg_ray.training.outcome import Outcome
from sgg_ray.training.passes import SOURCES, Passes
from sgg_ray.training.predict_rows import (
    holds_predictions,
    load_predictions,
    predict_rows,
    predictions_class,
    predictions_path,
)
from sgg_ray.training.predictions import Predictions
from sgg_ray.training.row_warmup import rows_to_warm_up, warm_up, with_trajectories
from sgg_ray.training.setfit import check_setfit
from sgg_ray.training.text_predictions import TextPredictions, generate_texts
from sgg_ray.training.time_estimate import TimeEstimate, estimate_time, passes_per_step
from sgg_ray.training.trainer import Event, Trainer
from sgg_ray.training.training_state import TrainingState, check_training_state
from sgg_ray.training.updates import GuidedSum, GuidedTarget, Phase, SourcesAlone, StatefulUpdate, Update
from sgg_ray.training.weight_updates import WeightUpdates

__all__ = [
    "AS_THE_FILE",
    "SOURCES",
    "ArrayPredictions",
    "Choice",
    "Communicator",
    "Distributed",
    "Event",
    "GuidedSum",
    "GuidedTarget",
    "Hooks",
    "LabelPredictions",
    "Outcome",
    "Passes",
    "Phase",
    "Predictions",
    "SingleProcess",
    "SourcesAlone",
    "StatefulUpdate",
    "TextPredictions",
    "TimeEstimate",
    "Trainer",
    "TrainingState",
    "Update",
    "WeightUpdates",
    "check_checkpoint",
    "check_setfit",
    "check_training_state",
    "check_unlabelled",
    "choose",
    "communicator_here",
    "estimate_time",
    "generate_texts",
    "holds_predictions",
    "load_checkpoint",
    "load_predictions",
    "only_member",
    "passes_per_step",
    "plain",
    "predict",
    "predict_rows",
    "predictions_class",
    "predictions_path",
    "rows_to_warm_up",
    "run_training",
    "save_checkpoint",
    "warm_up",
    "with_trajectories",
]
