"""The sum of the flat gradient over the workers, most of it while the backward pass is still running."""

from collections.abc import Callable

from torch import Tensor

from sgg_ray.gradients import FlatParameters
from sgg_ray.training.communicator import Communicator

STRETCH = 1 << 25  # values sent at once: 128 MiB, from which on a transfer runs at the full speed of the link


class SummedByShards:
    """Stands for :class:`GradientSum` where FSDP sums each shard's gradient over the workers within the pass."""

    stretches: tuple[slice, ...] = ()

    def arm(self) -> None:
        """Nothing to prepare."""

    def all_reduce(self, gradient: Tensor) -> None:
        """Nothing to do: the gradient is the sum already."""


class GradientSum:
    """Sums the gradient buffer over the workers in stretches, each sent as soon as it is complete.

    A backward pass fills the buffer about from its end to its beginning, so stretches are cut and sent from the end.
    The order is the same on every worker, whatever their rows make of it: collective operations must match. What does
    not fill a stretch (small models and adapters altogether), and parameters outside ``where``, are sent at the end.

    Args:
        parameters: with the gradient buffer.
        where: parameters that every backward pass reaches in the reverse of their order; others may lie beside them.
        communicator: the workers.
        stretch: values sent at once, at least. The same on all workers.
    """

    def __init__(self, parameters: FlatParameters, where: slice, communicator: Communicator, stretch: int):
        self.gradient, self.communicator = parameters.gradient, communicator
        self.low = self.high = 0  # what lies between is sent early
        self.stretches: list[slice] = []
        self._sizes: list[int] = []  # parameters of each stretch
        if communicator.world_size > 1:
            self._cut(parameters, where, stretch)
        self._missing = list(self._sizes)
        self._sent: list[Callable[[], object]] = []
        self._armed = False

    def _cut(self, parameters: FlatParameters, where: slice, stretch: int) -> None:
        inside = [
            (parameter, place)
            for parameter, place in zip(parameters.parameters, parameters.slices.values())
            if where.start <= place.start and place.stop <= where.stop
        ]
        stop, members = where.stop, []
        for parameter, place in reversed(inside):
            members.append(parameter)
            if stop - place.start >= stretch:
                for member in members:
                    member.register_post_accumulate_grad_hook(self._hook(len(self.stretches)))
                self.stretches.append(slice(place.start, stop))
                self._sizes.append(len(members))
                stop, members = place.start, []
        if self.stretches:
            self.low, self.high = stop, where.stop

    def _hook(self, number: int) -> Callable[[Tensor], None]:
        def complete(parameter: Tensor) -> None:
            if self._armed:
                self._missing[number] -= 1
                while len(self._sent) < len(self.stretches) and not self._missing[len(self._sent)]:
                    self._send_next()

        return complete

    def _send_next(self) -> None:
        where = self.stretches[len(self._sent)]
        self._sent.append(self.communicator.start_all_reduce(self.gradient[where]))

    def arm(self) -> None:
        """The next backward pass is the last one before :meth:`all_reduce`: what it completes may be sent."""
        self._armed = True
        self._missing = list(self._sizes)

    def all_reduce(self, gradient: Tensor) -> None:
        """Finish the sum.

        Args:
            gradient: the gradient buffer, or its first values up to behind ``where`` at least; the rest is not summed.
        """
        self._armed = False
        while len(self._sent) < len(self.stretches):
            self._send_next()
        for rest in (gradient[: self.low], gradient[self.high :]):
            if rest.numel():
                self.communicator.all_reduce(rest)
        for wait in self._sent:
            wait()
        self._sent = []
