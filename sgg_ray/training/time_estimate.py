"""How long the trainings of a run will take on this machine, from one step that is timed."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.models import build_model, find_model
from sgg_ray.tasks import Task

HVP_PASSES = {"finite_difference": 1, "central_difference": 2, "exact": 3, "first_order": 0}


@dataclass(frozen=True)
class TimeEstimate:
    """How long all trainings of a run take, one after the other."""

    seconds: float
    trainings: int  # the model's own, the baseline's and those that leave out shots
    steps: int  # of each
    fewer: bool = False  # steps or trainings may do

    def __str__(self) -> str:
        minutes = self.seconds / 60
        length = f"{minutes:.0f} min" if minutes >= 2 else f"{self.seconds:.0f} s"
        many = f"{self.trainings} trainings" if self.trainings > 1 else "one training"
        about = "at most" if self.fewer else "about"
        return f"{about} {length} for {many} of {self.steps} steps on this machine's CPU, beside scoring and testing"


def passes_per_step(config: Config) -> float:
    """Forward and backward passes over a target batch that a step of the run's own training is worth."""
    guidance, train = config.guidance, config.train
    terms = guidance.lambda_direction or guidance.lambda_magnitude or guidance.lambda_alignment
    second = HVP_PASSES[guidance.hvp] / guidance.interval if terms else 0.0
    mixed = config.sources and (guidance.lambda_source or guidance.lambda_alignment)
    return 1.0 + second + (train.source_batch_size / train.batch_size if mixed else 0.0)


def estimate_time(config: Config, target: Task, folds: int) -> TimeEstimate | None:
    """Time one pass over a batch, and count the passes of all trainings.

    Args:
        target: its training rows make the batch.
        folds: parts of the shots that are held out in turn.

    Returns:
        None for methods whose steps are not this package's, and for language models, of which one step on a CPU
        may take longer than everybody wants to wait for a check.

    Raises:
        ModelError: the model cannot be built.
    """
    train = config.train
    prompted = find_model(config.model.path).architecture.is_language_model
    if train.method not in ("gradients", "auto") or prompted:
        return None
    own = train.budget if train.method == "auto" else 1
    guided, plain = own * (1 + folds), int(train.baseline) * (1 + folds)
    seconds = (
        _seconds_of_a_pass(config, target) * train.max_steps * (guided * passes_per_step(config) + plain)
    )
    fewer = own > 1 or train.early_stopping is not None
    return TimeEstimate(seconds, guided + plain, train.max_steps, fewer)


def _seconds_of_a_pass(config: Config, target: Task) -> float:
    """Seconds of a forward and backward pass; the second of two, because the first pays for what is set up once."""
    model = build_model(config, [target]).train()
    rows = model.tokenise(target, target.train)
    chosen = np.resize(np.arange(len(rows)), config.train.batch_size)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        loss = model.losses(model.collate([(rows, int(row)) for row in chosen])).mean()
        torch.autograd.grad(loss, trained, allow_unused=True)
        seconds = time.perf_counter() - started
    return seconds
