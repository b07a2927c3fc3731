"""A short training on some of the sources' rows, at whose checkpoints rows are compared (LESS, arXiv 2402.04333)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sgg_ray.config import WarmupConfig
from sgg_ray.errors import TrainingError
from sgg_ray.models import LanguageModel, PromptedRows
from sgg_ray.scoring import (
    Checkpoint,
    RowVectors,
    flat_parameters,
    set_parameters,
    shares_of_rates,
    training_losses,
    trajectory_vectors,
)
from sgg_ray.scoring.row_trajectories import BETAS, EPSILON
from sgg_ray.tasks import Task
from sgg_ray.training.parameter_layout import learning_rate_factor

BATCH_ROWS = 32
RISING = 0.03  # share of the steps over which the learning rate rises
LONGEST_GRADIENT = 1.0
CHOICE, ORDER = 1, 2  # streams of random numbers


def rows_to_warm_up(sources: Sequence[Task], share: float, seed: int) -> list[Task]:
    """The sources with a random share of their rows, one at least of each."""
    found = []
    for number, source in enumerate(sources):
        count = len(source.train)
        order = np.random.default_rng([seed, CHOICE, number]).permutation(count)
        chosen = np.sort(order[: max(1, math.ceil(share * count))])
        found.append(replace(source, train=source.train.take(chosen)))
    return found


def warm_up(
    model: LanguageModel, sources: Sequence[Task], settings: WarmupConfig, seed: int
) -> list[Checkpoint]:
    """Train on the sources' rows with Adam, and return the checkpoint of each epoch. The model is as before, after it.

    The learning rate rises and falls linearly. Which rows a step has follows from the seed.

    Args:
        model: on its device.
        sources: with the rows to train on, by :func:`rows_to_warm_up`.
        settings: epochs and learning rate.

    Raises:
        TrainingError: a loss is not finite.
    """
    tokens = [model.tokenise(source, source.train) for source in sources]
    pairs = [(rows, row) for rows in tokens for row in range(len(rows))]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, betas=BETAS, eps=EPSILON)
    a_epoch = math.ceil(len(pairs) / BATCH_ROWS)
    steps = a_epoch * settings.checkpoints
    before, found, training = flat_parameters(model), [], model.training
    model.train()
    try:
        for epoch in range(settings.checkpoints):
            rates = []
            for step, batch in enumerate(_batches(pairs, epoch, seed), start=epoch * a_epoch):
                rates.append(settings.learning_rate * learning_rate_factor(step, steps, RISING))
                optimiser.param_groups[0]["lr"] = rates[-1]
                _step(model, optimiser, parameters, batch, seed + step)
            found.append(
                _checkpoint(model, optimiser, parameters, (epoch + 1) * a_epoch, float(np.mean(rates)))
            )
    finally:
        set_parameters(model, before)
        optimiser.zero_grad(set_to_none=False)
        model.train(training)
    return found


def with_trajectories(
    model: LanguageModel, vectors: Sequence[RowVectors], settings: WarmupConfig, seed: int
) -> list[RowVectors]:
    """Vectors of a target and its sources with those over the checkpoints of a warm-up training, in one process."""
    sources = [own.task for own in vectors[1:]]
    checkpoints = warm_up(model, rows_to_warm_up(sources, settings.share, seed), settings, seed)

    def trajectory(task: Task) -> np.ndarray:
        bounds = [(0, len(task.train))]
        return next(trajectory_vectors(model, task, bounds, checkpoints, settings.preconditioner, seed))

    rates = shares_of_rates(checkpoints)
    return [replace(own, trajectory=trajectory(own.task), rates=rates) for own in vectors]


def _batches(
    pairs: Sequence[tuple[PromptedRows, int]], epoch: int, seed: int
) -> Iterator[list[tuple[PromptedRows, int]]]:
    order = np.random.default_rng([seed, ORDER, epoch]).permutation(len(pairs))
    for start in range(0, len(order), BATCH_ROWS):
        yield [pairs[place] for place in order[start : start + BATCH_ROWS]]


def _step(
    model: LanguageModel,
    optimiser: torch.optim.Adam,
    parameters: Sequence[nn.Parameter],
    batch: list[tuple[PromptedRows, int]],
    seed: int,
) -> None:
    torch.manual_seed(seed)  # of dropout
    optimiser.zero_grad(set_to_none=False)  # gradients may be views of a buffer
    loss = training_losses(model, batch).mean()
    if not torch.isfinite(loss):
        raise TrainingError("alignment.warmup: the loss is not finite; lower alignment.warmup.learning_rate")
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, LONGEST_GRADIENT)
    optimiser.step()


def _checkpoint(
    model: LanguageModel,
    optimiser: torch.optim.Adam,
    parameters: Sequence[nn.Parameter],
    steps: int,
    rate: float,
) -> Checkpoint:
    def moment(name: str) -> np.ndarray:
        # A parameter that no row has reached has no state yet.
        found = [optimiser.state[one].get(name, torch.zeros_like(one)) for one in parameters]
        return _array(torch.cat([one.flatten() for one in found]))

    values = _array(flat_parameters(model))
    return Checkpoint(values, moment("exp_avg"), moment("exp_avg_sq"), steps, rate)


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
