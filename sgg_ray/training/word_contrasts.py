"""Contrast gradients of a causal language model's tasks, whether their rows have labels or completions."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from sgg_ray.errors import TrainingError
from sgg_ray.models import LanguageModel
from sgg_ray.models.completion_contrast import completion_contrasts
from sgg_ray.models.contrast import Part, label_word_contrasts
from sgg_ray.tasks import Task


def answer_contrasts(
    model: LanguageModel, task: Task, parts: Sequence[Part], seed: int, batch_size: int
) -> Iterator[Tensor]:
    """Gradient of the task's contrast loss at all trainable parameters, part by part: [P] each.

    Args:
        parts: of the task's training rows.
        seed: of the choice of completions that a row's own is compared with.
        batch_size: sequences at once.

    Raises:
        TrainingError: there is nothing to contrast.
    """
    tokens = model.tokenise(task, task.train)
    if not task.generates:
        yield from label_word_contrasts(model, tokens, tokens.labels, parts, batch_size)
        return
    try:
        yield from completion_contrasts(model, tokens, parts, seed, batch_size)
    except ValueError as error:
        raise TrainingError(f"{task.name}: {error}") from error


def classes_of(task: Task, labels: Sequence[str]) -> np.ndarray:
    """Class [n] of each training row: the place of its label in ``labels``, or −1; rows with completions are of one."""
    if task.generates:
        return np.zeros(len(task.train), dtype=np.int64)
    number = {task.labels.index(name): place for place, name in enumerate(labels)}
    return np.array([number.get(int(label), -1) for label in task.train.labels])
