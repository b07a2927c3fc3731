"""How the workers of one training speak to each other: sums over workers, nothing else.

The loop is written once against :class:`Communicator`. One process and many call the same functions in the same
order, so what is tested in one process is what runs on many.
"""

from collections.abc import Callable
from typing import Protocol

import torch.distributed as dist
from torch import Tensor


class Communicator(Protocol):
    """The collective operations of the training loop."""

    @property
    def rank(self) -> int:
        """This worker's number, 0 for the one that writes files."""
        ...

    @property
    def world_size(self) -> int:
        """How many workers train together."""
        ...

    def all_reduce(self, tensor: Tensor) -> None:
        """Replace ``tensor`` on every worker by its sum over the workers."""
        ...

    def start_all_reduce(self, tensor: Tensor) -> Callable[[], object]:
        """Begin to; ``tensor`` holds the sum once the function that is returned has been called."""
        ...


class SingleProcess:
    """Communicator of a single process: sums over workers change nothing."""

    rank = 0
    world_size = 1

    def all_reduce(self, tensor: Tensor) -> None:
        """Do nothing."""

    def start_all_reduce(self, tensor: Tensor) -> Callable[[], object]:
        """Nothing to wait for."""
        return lambda: None


def communicator_here() -> Communicator:
    """Of the process group that this process is in, or of itself alone."""
    alone = not dist.is_initialized() or dist.get_world_size() == 1
    return SingleProcess() if alone else Distributed()


class Distributed:
    """The default torch.distributed group: gloo on CPUs, NCCL on GPUs. Ray Train sets it up."""

    def __init__(self):
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()

    def all_reduce(self, tensor: Tensor) -> None:
        """Sum in place over all workers."""
        dist.all_reduce(tensor)

    def start_all_reduce(self, tensor: Tensor) -> Callable[[], object]:
        """Sum in place beside what the device computes meanwhile. Waiting lets the device wait, not the host (NCCL)."""
        work = dist.all_reduce(tensor, async_op=True)
        assert work is not None
        return work.wait
