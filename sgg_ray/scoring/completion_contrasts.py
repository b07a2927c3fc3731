"""The contrast of completions, what alignment scores compare of tasks of kind generation (docs/method.md).

For a prompt x with completion c it is log p(c | x) − mean_k log p(c_k | x), a mean over tokens each, c_k being
completions of other rows. What makes any completion of the task likely cancels; what ties a completion to its
prompt is left.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sgg_ray.models import LanguageModel, PromptedRows
from sgg_ray.models.prompts import Ids
from sgg_ray.scoring.class_contrasts import Part, part_gradients
from sgg_ray.scoring.loss_gradients import Gradient

NEGATIVES = 3  # completions of other rows that a row's own is compared with, at most


def completion_parts(rows: PromptedRows, chosen: np.ndarray, most: int) -> list[Part]:
    """Split rows into at most ``most`` parts, each with two different completions at least.

    Rows are compared with others of their part only. Parts are then independent of one another, as scores need it,
    and over a part a completion's own likelihood cancels. Pairs of rows are joined, in the order of ``chosen``.

    Args:
        chosen: row numbers [n], in random order.
        most: upper bound for the number of parts.

    Raises:
        ValueError: there is one completion only.
    """
    pairs: list[list[int]] = []
    waiting: list[int] = []  # all with one completion
    for row in map(int, chosen):
        if waiting and rows.candidates[waiting[0]][0] != rows.candidates[row][0]:
            pairs.append([waiting.pop(0), row])
        else:
            waiting.append(row)
    if not pairs:
        raise ValueError("one completion only: no contrast to compare")
    count = min(most, len(pairs))
    groups = [[row for pair in pairs[number::count] for row in pair] for number in range(count)]
    for number, row in enumerate(waiting):
        groups[number % count].append(row)
    return [Part(np.array(group), np.full(len(group), 1 / len(group))) for group in groups]


def completion_contrasts(
    model: LanguageModel, rows: PromptedRows, parts: Sequence[Part], batch_size: int
) -> Iterator[Gradient]:
    """Gradient of minus the contrast of completions at all trainable parameters, part by part.

    Args:
        parts: as :func:`completion_parts` makes them.
        batch_size: sequences at once.
    """
    for part in parts:
        compared = with_negatives(rows, part.rows, model.prompter.room_beside)
        size = max(1, batch_size // len(compared.candidates[part.rows[0]]))

        def scores_of(batch: np.ndarray, compared: PromptedRows = compared) -> tuple[Tensor, Tensor]:
            (scores,) = model.scores(model.collate([(compared, int(row)) for row in batch]))
            residual = torch.full_like(scores, -1 / (scores.shape[1] - 1))
            residual[:, 0] = 1
            return scores, residual

        yield from part_gradients(scores_of, compared, [part], model, size)


def with_negatives(rows: PromptedRows, ring: np.ndarray, room: Callable[[int], int]) -> PromptedRows:
    """The rows of a ring with completions of others beside their own: the next different ones, NEGATIVES at most.

    All rows get equally many. Where all completions differ, each is the other one as often as each. One that does not
    fit beside the prompt is cut: it is only there to be compared with.

    Args:
        ring: numbers of rows, with two different completions at least; other rows keep their own alone.
        room: tokens that are left beside a prompt of so many.
    """
    own = [rows.candidates[row][0] for row in ring]
    others = [_next_different(own, place) for place in range(len(own))]
    count = min(map(len, others))
    candidates = list(rows.candidates)
    for row, mine, found in zip(ring, own, others):
        most = max(1, room(len(rows.ids[row])))
        candidates[row] = (mine, *(other[:most] for other in found[:count]))
    return replace(rows, candidates=tuple(candidates))


def _next_different(own: Sequence[Ids], place: int) -> list[Ids]:
    """Up to NEGATIVES completions behind ``place`` in the ring that are not the one there."""
    found: list[Ids] = []
    for step in range(1, len(own)):
        other = own[(place + step) % len(own)]
        if other != own[place]:
            found.append(other)
        if len(found) == NEGATIVES:
            break
    return found
