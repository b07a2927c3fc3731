"""Contrast gradients of a language model's tasks, whether their rows have labels or completions."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sgg_ray.errors import TrainingError
from sgg_ray.models import LanguageModel, PromptedRows
from sgg_ray.scoring.class_contrasts import Part, balanced_parts, label_word_contrasts, single_example_parts
from sgg_ray.scoring.completion_contrasts import completion_contrasts, completion_parts
from sgg_ray.scoring.loss_gradients import Gradient
from sgg_ray.tasks import Task


def chosen_alone(task: Task, chosen: np.ndarray) -> tuple[Task, np.ndarray]:
    """The task with the chosen rows [n] alone, in their order, and their numbers in it.

    What is scored of a source are some hundred rows: the others, maybe millions, need not be tokenised.
    """
    return replace(task, train=task.train.take(chosen)), np.arange(len(chosen))


def answer_parts(
    model: LanguageModel, task: Task, chosen: np.ndarray, classes: np.ndarray, most: int | None
) -> tuple[PromptedRows, list[Part]]:
    """The tokenised rows, and what counts as one sample of the task's gradient each.

    Args:
        chosen: row numbers [n], in random order.
        classes: of these rows [n].
        most: upper bound for the number of parts; None makes them as small as can be: single rows, or of rows with
            completions pairs.

    Raises:
        TrainingError: there is nothing to contrast.
    """
    tokens = model.tokenise(task, task.train)
    if not task.generates:
        parts = single_example_parts(chosen) if most is None else balanced_parts(chosen, classes, most)
        return tokens, parts
    try:
        return tokens, completion_parts(tokens, chosen, most or len(chosen))
    except ValueError as error:
        raise TrainingError(str(error)) from error


def answer_contrasts(
    model: LanguageModel, task: Task, tokens: PromptedRows, parts: Sequence[Part], batch_size: int
) -> Iterator[Gradient]:
    """Gradient of the task's contrast loss at all trainable parameters, part by part.

    Args:
        tokens: all training rows of the task, and
        parts: of them, as :func:`answer_parts` gives both.
        batch_size: rows at once; of rows with completions sequences.
    """
    if task.generates:
        yield from completion_contrasts(model, tokens, parts, batch_size)
    else:
        yield from label_word_contrasts(model, tokens, tokens.labels, parts, batch_size)


def classes_of(task: Task, labels: Sequence[str]) -> np.ndarray:
    """Class [n] of each training row: the place of its label in ``labels``, or −1; all 0 where rows have none."""
    if task.strata == 1:
        return np.zeros(len(task.train), dtype=np.int64)
    number = {task.labels.index(name): place for place, name in enumerate(labels)}
    return np.array([number.get(int(label), -1) for label in task.train.labels])
