"""The contrastive loss: rows of equal labels shall look alike, and rows of different labels shall not."""

import torch
from torch import Tensor

from sgg_ray.models import Batch


def pair_losses(features: Tensor, batch: Batch) -> Tensor:
    """Loss of each row's pairs with the other rows of the batch: [B].

    For row i with unit features u it is

        ½ mean over j of equal label (u_i·u_j − 1)² + ½ mean over j of another label (u_i·u_j)²,

    the cosine loss of Reimers and Gurevych (2019) with which SetFit trains, on all pairs of a batch instead of some,
    both kinds weighing the same. Only rows with one set of labels make pairs. A row without any counts as 0.

    Args:
        features: [B, H].
        batch: with labels [B], rows of one head side by side.
    """
    unit = torch.nn.functional.normalize(features, dim=-1)
    numbers = torch.arange(len(batch.heads), device=features.device)
    counts = torch.tensor([count for _, count in batch.heads], device=features.device)
    owner = numbers.repeat_interleave(counts, output_size=len(batch))
    comparable = (owner[:, None] == owner[None]).fill_diagonal_(False)
    equal = batch.labels[:, None] == batch.labels[None]
    errors = (unit @ unit.T - equal.to(unit.dtype)).square()
    halves = [
        (errors * kind).sum(1) / kind.sum(1).clamp(min=1)
        for kind in (comparable & equal, comparable & ~equal)
    ]
    return (halves[0] + halves[1]) / 2
