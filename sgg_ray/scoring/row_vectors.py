"""What a row's scores are made from: its features (an encoder), or the sketch of its gradient (a language model)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sgg_ray.errors import TrainingError
from sgg_ray.gradients import Summariser
from sgg_ray.models import EncoderClassifier, LanguageModel, PromptedRows, TaskModel
from sgg_ray.models.batch import TokenisedRows
from sgg_ray.scoring.answer_contrasts import answer_contrasts
from sgg_ray.scoring.class_contrasts import part_gradients, single_example_parts
from sgg_ray.scoring.completion_contrasts import with_negatives
from sgg_ray.scoring.feature_stream import BATCH_ROWS, feature_stretches
from sgg_ray.scoring.loss_gradients import Gradient
from sgg_ray.tasks import Rows, Task, label_name_rows

if TYPE_CHECKING:
    from sgg_ray.scoring.row_facts import RowFacts

ROW_SKETCH = 4096  # values of a row's sketched gradient: 16 KiB, and cosines to 0.016
WITH_LABELS = (
    "classification",
    "ordinal",
    "generation",
)  # kinds of tasks whose rows have one label, or completion
RING_ROWS = 8  # rows of kind generation whose completions serve each other as the wrong ones


@dataclass(frozen=True)
class RowVectors:
    """A task and one vector a row.

    Attributes:
        vectors: [n, D] features or sketched gradients; may be a memory map.
        names: features of what the labels are called [C, D]; None where they say nothing.
        facts: what ``facts_of`` found of a source's rows earlier; None where that is to be found again.
        trajectory: sketches over the checkpoints of a warm-up training, see ``row_trajectories``; None without.
        rates: of these checkpoints [K].
    """

    task: Task
    vectors: np.ndarray
    names: np.ndarray | None = None
    facts: "RowFacts | None" = None
    trajectory: np.ndarray | None = None
    rates: np.ndarray | None = None

    def take(self, task: Task, rows: np.ndarray) -> "RowVectors":
        """Some of a target's shots: those at these positions [n], which are the training rows of ``task``."""
        trajectory = None if self.trajectory is None else self.trajectory[rows]
        return replace(self, task=task, vectors=self.vectors[rows], trajectory=trajectory)


def row_vectors(model: TaskModel, task: Task, start: int, stop: int, seed: int) -> np.ndarray:
    """One vector [stop − start, D] float32 for each of these training rows; see :func:`vectors_of_stretches`."""
    return next(vectors_of_stretches(model, task, [(start, stop)], seed))


def vectors_of_stretches(
    model: TaskModel,
    task: Task,
    bounds: Sequence[tuple[int, int]],
    seed: int,
    tokenise: Callable[[Task, Rows], TokenisedRows] | None = None,
) -> Iterator[np.ndarray]:
    """One vector [stop − start, D] float32 for each training row of each stretch, in their order.

    Of an encoder D is the width of its features: the gradient of a row at a head is its residual times its features,
    and is never made. Of a language model it is the contrast gradient at all trainable parameters (see
    ``class_contrasts``), sketched to ROW_SKETCH values at most.

    Args:
        model: on its device; it is put into evaluation mode.
        task: whose rows; rows of kind generation are contrasted with RING_ROWS − 1 others of their stretch.
        bounds: start and stop of each stretch.
        seed: of the sketch; vectors of one seed can be compared.
        tokenise: in place of an encoder's own; called by several threads.

    Raises:
        TrainingError: a vector is not finite.
    """
    model.eval()
    if isinstance(model, EncoderClassifier):
        found = feature_stretches(model, task, bounds, tokenise)
    else:
        assert isinstance(model, LanguageModel)
        found = (_sketches(model, task, start, stop, seed) for start, stop in bounds)
    for (start, stop), vectors in zip(bounds, found):
        if not np.isfinite(vectors).all():
            raise TrainingError(f"{task.name}: vectors of rows {start:,} to {stop - 1:,} are not finite")
        yield vectors


def name_vectors(model: TaskModel, task: Task) -> np.ndarray | None:
    """Mean features [C, H] of what each label is called; None where names say nothing, or are in the prompt anyway."""
    names = label_name_rows(task.labels) if task.labels and isinstance(model, EncoderClassifier) else None
    if names is None:
        return None
    found = row_vectors(model, replace(task, train=names), 0, len(names), 0)
    return np.stack([found[names.labels == number].mean(axis=0) for number in range(len(task.labels))])


def _sketches(model: LanguageModel, task: Task, start: int, stop: int, seed: int) -> np.ndarray:
    sketched = []
    for gradient in _gradients(model, replace(task, train=task.train.take(range(start, stop)))):
        summariser = Summariser(gradient.dimension, ROW_SKETCH, seed, "sketch")
        sketched.append(gradient.compressed(summariser).cpu().numpy())
    return np.stack(sketched).astype(np.float32)


def _gradients(model: LanguageModel, task: Task) -> Iterator[Gradient]:
    tokens = model.tokenise(task, task.train)
    parts = single_example_parts(np.arange(len(task.train)))
    if not task.generates:
        yield from answer_contrasts(model, task, tokens, parts, BATCH_ROWS)
        return
    compared = _contrasted(tokens, model.prompter.room_beside)

    def scores_of(batch: np.ndarray) -> tuple[Tensor, Tensor]:
        (scores,) = model.scores(model.collate([(compared, int(row)) for row in batch]))
        residual = torch.full_like(scores, -1 / max(scores.shape[1] - 1, 1))
        residual[:, 0] = 1
        return scores, residual

    yield from part_gradients(scores_of, compared, parts, model, BATCH_ROWS)


def _contrasted(tokens: PromptedRows, room: Callable[[int], int]) -> PromptedRows:
    """Every row with completions of its ring beside its own; a row whose ring has one completion only keeps its own."""
    order = np.random.default_rng(0).permutation(len(tokens))
    for ring in np.array_split(order, max(1, len(order) // RING_ROWS)):
        if len({tuple(tokens.candidates[int(row)][0]) for row in ring}) > 1:
            tokens = with_negatives(tokens, ring, room)
    return tokens
