"""Rows of language models over the checkpoints of a warm-up training, as LESS compares them.

LESS (Xia et al. 2024, arXiv 2402.04333, section 3) estimates how much a row z of a source lowers the loss of the
target, trained with Adam, by

    max_j Σ_i η_i · cos(ḡ_j(θ_i), Γ(z, θ_i)),        Γ = m' / (√v' + ε),
    m' = (β₁ m_i + (1 − β₁) ∇l(z; θ_i)) / (1 − β₁^(t+1)),   v' = (β₂ v_i + (1 − β₂) ∇l(z; θ_i)²) / (1 − β₂^(t+1)),

where θ_i, m_i, v_i and t are parameters, moments and steps of a short training on some of the sources' rows after its
i-th epoch, η_i the mean learning rate of that epoch, and ḡ_j(θ_i) the mean gradient of the shots of subtask j, without
moments. Here the η_i sum to one, so that the estimate is a mean of cosines, and each label of the target is a subtask:
a model that says one label too rarely has long gradients for its shots, and the rows that come first by the mean of all
shots are all of that label, whatever they say.

The K vectors √η_i · Γ/‖Γ‖ of a row are one vector of K·P values, and it has a sketch: a row takes the same room for
any K. The shots' gradients stay apart by checkpoint, since the length that divides ḡ_j is that of a mean. A sketch of
D values changes the estimate by about 1/√D: both sides have length 1 at most.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sgg_ray.errors import TrainingError
from sgg_ray.gradients import Summariser
from sgg_ray.models import LanguageModel, TokenisedRows
from sgg_ray.models.task_model import TaskModel
from sgg_ray.rows.contrast_model import parts_of_rows
from sgg_ray.scoring.example_gradients import MixedRowsError, example_gradients, trained_layers
from sgg_ray.scoring.feature_stream import BATCH_ROWS
from sgg_ray.scoring.loss_gradients import trained
from sgg_ray.tasks import Task

TRAJECTORY_SKETCH = 4096  # D, or all K·P values where those are fewer: 16 KiB a row, and estimates to 0.016
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training after an epoch.

    Attributes:
        values: all trainable parameters [P], in the model's order.
        momentum: Adam's mean of gradients [P], its bias not corrected.
        squares: that of squared gradients [P].
        steps: of the optimiser so far.
        rate: mean learning rate of the epoch.
    """

    values: np.ndarray
    momentum: np.ndarray
    squares: np.ndarray
    steps: int
    rate: float


def shares_of_rates(checkpoints: Sequence[Checkpoint]) -> np.ndarray:
    """η_i [K], summing to one."""
    rates = np.array([one.rate for one in checkpoints])
    return rates / rates.sum()


class AdamUpdates:
    """Γ: the direction of Adam's next update, were it made on one row's gradient alone.

    Args:
        checkpoint: of the training.
        device: of the gradients; the moments stay there, since every row needs them.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device):
        self.momentum = torch.tensor(checkpoint.momentum, device=device)
        self.squares = torch.tensor(checkpoint.squares, device=device)
        self.step = checkpoint.steps + 1

    def of(self, gradient: Tensor) -> Tensor:
        """The update [P] of a gradient [P]."""
        beta1, beta2 = BETAS
        momentum = (beta1 * self.momentum + (1 - beta1) * gradient) / (1 - beta1**self.step)
        squares = (beta2 * self.squares + (1 - beta2) * gradient.square()) / (1 - beta2**self.step)
        return momentum / (squares.sqrt() + EPSILON)


def trajectory_vectors(
    model: LanguageModel,
    task: Task,
    bounds: Sequence[tuple[int, int]],
    checkpoints: Sequence[Checkpoint],
    preconditioner: str,
    seed: int,
) -> Iterator[np.ndarray]:
    """For each stretch of the task's training rows their vectors, float32: of a source [stop − start, D], of the target
    [stop − start, K·D], D being TRAJECTORY_SKETCH at most. The model's parameters are as before between two stretches.

    Args:
        model: on its device; it is put into evaluation mode.
        task: its role says which of the two.
        bounds: start and stop of each stretch.
        checkpoints: of the warm-up training of this model.
        preconditioner: of a source's gradients: ``adam``, or ``none``.
        seed: of the sketch.

    Raises:
        TrainingError: a vector is not finite.
    """
    model.eval()
    for start, stop in bounds:
        stretch = replace(task, train=task.train.take(range(start, stop)))
        found = np.stack(
            [
                _sketched(model, stretch, checkpoints, place, preconditioner, seed)
                for place in range(len(checkpoints))
            ],
            axis=1,
        )
        if not np.isfinite(found).all():
            raise TrainingError(f"{task.name}: gradients of rows {start:,} to {stop - 1:,} are not finite")
        yield found.reshape(stop - start, -1) if task.role == "target" else found.sum(axis=1)


def trajectory_scores(
    rows: np.ndarray, shots: np.ndarray, classes: np.ndarray, rates: np.ndarray
) -> np.ndarray:
    """max_j Σ_i η_i cos(ḡ_j(θ_i), Γ(z, θ_i)) of each row [n] of a source, as sketched.

    Args:
        rows: of a source [n, D], by :func:`trajectory_vectors`; may be on disk.
        shots: of the target [m, K·D].
        classes: their labels [m], of which each is a subtask; all alike where they have completions.
        rates: η_i [K], summing to one.
    """
    whole = np.asarray(shots, dtype=np.float64)
    means = np.stack([whole[classes == value].mean(axis=0) for value in np.unique(classes)])
    means = means.reshape(len(means), len(rates), -1)
    lengths = np.linalg.norm(means, axis=-1, keepdims=True)
    wanted = np.einsum("k,jkd->dj", np.sqrt(rates), means / np.maximum(lengths, 1e-300))
    return np.concatenate([(part @ wanted).max(axis=1) for _, part in parts_of_rows(rows)])


def _sketched(
    model: LanguageModel,
    task: Task,
    checkpoints: Sequence[Checkpoint],
    place: int,
    preconditioner: str,
    seed: int,
) -> np.ndarray:
    """Sketches [n, D] of the rows' vectors at one checkpoint, as pieces of those over all checkpoints."""
    checkpoint = checkpoints[place]
    dimension = len(checkpoint.values)
    summariser = Summariser(len(checkpoints) * dimension, TRAJECTORY_SKETCH, seed)
    weight = float(np.sqrt(shares_of_rates(checkpoints)[place]))
    updates = AdamUpdates(checkpoint, model.device) if preconditioner == "adam" else None
    found: np.ndarray = np.zeros((len(task.train), summariser.sent), dtype=np.float32)
    with _standing_at(model, checkpoint.values):
        for row, gradient in _loss_gradients(model, task):
            if task.role == "source":
                update = gradient if updates is None else updates.of(gradient)
                gradient = update * (weight / update.norm().clamp(min=1e-30))
            total = torch.zeros(summariser.sent, device=gradient.device)
            summariser.add_piece(total, gradient, place * dimension)
            found[row] = total.cpu().numpy()
    return found


@contextmanager
def _standing_at(model: TaskModel, values: np.ndarray):
    """Let the trainable parameters have these values [P], for a while."""
    before = flat_parameters(model)
    set_parameters(model, torch.tensor(values))
    try:
        yield
    finally:
        set_parameters(model, before)


def flat_parameters(model: TaskModel) -> Tensor:
    """A copy of all trainable parameters [P], in the model's order."""
    return torch.cat([value.detach().flatten() for _, value in trained(model)])


@torch.no_grad()
def set_parameters(model: TaskModel, values: Tensor) -> None:
    """Give all trainable parameters these values [P], in the model's order."""
    named = trained(model)
    for (_, parameter), value in zip(named, values.split([one.numel() for _, one in named])):
        parameter.copy_(value.view(parameter.shape))


def training_losses(model: LanguageModel, batch: Sequence[tuple[TokenisedRows, int]]) -> Tensor:
    """Loss of each of these rows: cross-entropy of the right label word among all, or of a completion's tokens [b].

    Not ``train.loss``: vectors are kept for runs with any.
    """
    return TaskModel.losses(model, model.collate(batch))


def _loss_gradients(model: LanguageModel, task: Task) -> Iterator[tuple[int, Tensor]]:
    """Each training row with the gradient of its loss [P], rows of like length side by side."""
    rows = model.tokenise(task, task.train)
    order = np.argsort([rows.length(row) for row in range(len(rows))], kind="stable")
    layers = trained_layers(model)

    def losses_of(batch: Sequence[int] | np.ndarray) -> Tensor:
        return training_losses(model, [(rows, int(row)) for row in batch])

    if layers is not None and len({rows.sequences(row) for row in range(len(rows))}) == 1:
        with suppress(MixedRowsError):
            yield from zip(map(int, order), example_gradients(layers, losses_of, order, BATCH_ROWS))
            return
    parameters = [parameter for _, parameter in trained(model)]
    for row in map(int, order):
        loss = losses_of([row]).sum()
        pieces = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        yield row, torch.cat([piece.flatten().float() for piece in pieces])
