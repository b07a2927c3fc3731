"""Source weights that change while a training runs, the same on all of its workers."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sgg_ray.training.communicator import Communicator


class WeightUpdates(Protocol):
    """Where new source weights come from while training runs.

    Worker 0 has one, which must not wait; or all workers have one and score together.
    """

    def refresh(self, step: int, values: Tensor) -> Mapping[str, float] | None:
        """Ask for scores at the parameters ``values`` [P]; return the weights that are ready, if there are any."""
        ...


def agreed_weights(
    updates: WeightUpdates | None,
    names: Sequence[str],
    step: int,
    values: Tensor,
    communicator: Communicator,
) -> dict[str, float] | None:
    """Weights of the sources ``names`` that worker 0 was given, handed to all workers; None if it has no new ones.

    When an answer comes is up to the cluster: the sum over the workers, to which all but worker 0 add zeros, tells all
    of them at one step whether there is one.

    Args:
        updates: where this worker asks, if it does.
        step: of the training.
        values: the parameters [P] at which scores are asked for.
    """
    message = torch.zeros(len(names) + 1, device=values.device)
    weights = None if updates is None else updates.refresh(step, values)
    if weights is not None and communicator.rank == 0:
        message = torch.tensor([1.0, *(weights.get(name, 0.0) for name in names)], device=values.device)
    communicator.all_reduce(message)
    arrived, *found = message.tolist()
    return dict(zip(names, found)) if arrived else None
