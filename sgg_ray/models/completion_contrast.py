"""The contrast of completions, what alignment scores compare of tasks of kind generation (docs/method.md).

For a prompt x with completion c it is log p(c | x) − mean_k log p(c_k | x), a mean over tokens each, c_k being
completions of other rows. What makes any completion of the task likely cancels; what ties a completion to its
prompt is left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sgg_ray.models.contrast import Part, part_gradients
from sgg_ray.models.language_model import LanguageModel, PromptedRows
from sgg_ray.models.prompts import Ids

NEGATIVES = 3  # completions of other rows that a row's own is compared with
STREAM = 7  # of random numbers


def completion_contrasts(
    model: LanguageModel, rows: PromptedRows, parts: Sequence[Part], seed: int, batch_size: int
) -> Iterator[Tensor]:
    """Gradient of minus the contrast of completions at all trainable parameters, part by part: [P] each.

    The other completions come from the rows of the same part, in a ring: where all differ, each completion of a part
    is the other one as often as each, so that over the part a completion's own likelihood cancels exactly. Parts of
    one row (the target's) make one ring together.

    Args:
        seed: of the order of the ring.

    Raises:
        ValueError: a part has one completion only.
    """
    together = np.concatenate([part.rows for part in parts])
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    size = max(1, batch_size // (1 + NEGATIVES))
    for part in parts:
        ring = part.rows if len(part.rows) > 1 else together
        compared = with_negatives(rows, ring, seed, model.max_length)

        def scores_of(batch: np.ndarray, compared: PromptedRows = compared) -> tuple[Tensor, Tensor]:
            (scores,) = model.scores(model.collate([(compared, int(row)) for row in batch]))
            residual = torch.full_like(scores, -1 / (scores.shape[1] - 1))
            residual[:, 0] = 1
            return scores, residual

        yield from part_gradients(scores_of, compared, [part], trainable, size)


def with_negatives(rows: PromptedRows, ring: np.ndarray, seed: int, max_length: int) -> PromptedRows:
    """The rows with NEGATIVES other completions beside their own: the next different ones in a random ring.

    Where fewer differ, they come again. One that does not fit into ``max_length`` beside the prompt is cut: it is
    only there to be compared with.

    Args:
        ring: numbers of the rows that lend their completions; other rows than these keep their own alone.

    Raises:
        ValueError: there is one completion only.
    """
    order = np.random.default_rng([seed, STREAM]).permutation(np.sort(ring))
    own = [rows.candidates[row][0] for row in order]
    candidates = list(rows.candidates)
    for place, row in enumerate(order):
        others: list[Ids] = []
        for step in range(1, len(order)):
            other = own[(place + step) % len(order)]
            if other != own[place]:
                others.append(other)
            if len(others) == NEGATIVES:
                break
        if not others:
            raise ValueError("one completion only: no contrast to compare")
        room = max(1, max_length - len(rows.ids[row]))
        drawn = [others[number % len(others)][:room] for number in range(NEGATIVES)]
        candidates[row] = (own[place], *drawn)
    return replace(rows, candidates=tuple(candidates))
