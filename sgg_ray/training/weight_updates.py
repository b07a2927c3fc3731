"""Source weights that change while a training runs, the same on all of its workers."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sgg_ray.training.communicator import Communicator


class WeightUpdates(Protocol):
    """Where new source weights come from while training runs. Called on worker 0 only; must not wait."""

    def refresh(self, step: int, values: Tensor) -> Mapping[str, float] | None:
        """Ask for scores at the parameters ``values`` [P]; return the weights asked for last time, if ready."""
        ...


def agreed_weights(
    updates: WeightUpdates | None,
    names: Sequence[str],
    step: int,
    values: Tensor,
    communicator: Communicator,
) -> dict[str, float] | None:
    """Weights of the sources ``names`` that worker 0 was given, handed to all workers; None if it has no new ones.

    Worker 0 alone asks, and when an answer comes is up to the cluster: the sum over the workers, to which the
    others add zeros, tells all of them at one step whether there is one. It is the only wait of a refresh.

    Args:
        updates: where worker 0 asks; not used on the others.
        step: of the training.
        values: the parameters [P] at which scores are asked for.
    """
    message = torch.zeros(len(names) + 1, device=values.device)
    if communicator.rank == 0 and updates is not None:
        weights = updates.refresh(step, values)
        if weights is not None:
            message = torch.tensor([1.0, *(weights.get(name, 0.0) for name in names)], device=values.device)
    communicator.all_reduce(message)
    arrived, *found = message.tolist()
    return dict(zip(names, found)) if arrived else None
