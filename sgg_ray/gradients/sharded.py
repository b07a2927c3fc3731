"""The shards of a model's trainable parameters in one contiguous buffer a worker: the flat buffer of a sharded model.

Guidance touches gradients element by element or by inner products. The first needs no other worker's shard, and the
second a sum of a few numbers over the workers. One engine therefore serves whole and sharded models: only where an
inner product is taken, :meth:`FlatParameters.sum_shards` stands.
"""

from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sgg_ray.errors import ModelError
from sgg_ray.gradients.flat import FlatParameters


class ShardedParameters(FlatParameters):
    """Moves this worker's shards of parameters, as FSDP2's ``fully_shard`` leaves them, into one buffer.

    Each parameter has as much room on every worker as its largest shard takes: shards of unequal length are filled up
    with zeros, whose gradients stay zero, so that they count for nothing in any inner product. FSDP gathers parameters
    from the buffer and adds reduced gradients to that of the gradients: nothing is copied in between.

    FSDP2 has no interface for a shard's memory. What is used of its insides (``_sharded_param_data`` and
    ``sharded_param``) is there in torch 2.11 and 2.13, which this was run on.

    Args:
        named_parameters: in the order in which they shall lie in the buffer; a tied parameter counts once.
        model: the module that they are of, sharded, its root included.

    Raises:
        ModelError: there is nothing to train, or a parameter is not sharded or not in float32.
    """

    sharded = True

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], model: nn.Module):
        unique: dict[int, tuple[str, nn.Parameter]] = {}
        for name, parameter in named_parameters:
            unique.setdefault(id(parameter), (name, parameter))
        shards = _shards_of(model)
        lacking = [name for place, (name, _) in unique.items() if place not in shards]
        if not unique or lacking:
            found = f"{lacking[0]} is not sharded" if lacking else "no trainable parameter was found"
            raise ModelError(f"ray.sharding: {found}; shard the whole model")
        self.names = tuple(name for name, _ in unique.values())
        self.parameters = tuple(parameter for _, parameter in unique.values())
        self._shards = [shards[place] for place in unique]
        other = next((name for name, own in unique.values() if own.dtype != torch.float32), None)
        if other is not None:
            raise ModelError(f"ray.sharding: {other} is not in float32; trainable parameters have to be")
        sizes = [shard.padded_sharded_param_size.numel() for shard in self._shards]
        device = self._shards[0].sharded_param.to_local().device
        self.values = torch.zeros(sum(sizes), device=device)
        self.gradient = torch.zeros_like(self.values)
        self.slices: dict[str, slice] = {}
        start = 0
        for name, size in zip(self.names, sizes):
            self.slices[name] = slice(start, start + size)
            start += size
        self._own_values = self.views(self.values)
        for shard, view in zip(self._shards, self._own_values):
            view.copy_(shard._sharded_param_data)
        for shard, local in zip(self._shards, self.local(self.values).values()):
            shard.sharded_param._local_tensor = local
        _point(self._shards, self._own_values)
        self._own_gradients = [
            shard.to_sharded_dtensor(local)
            for shard, local in zip(self._shards, self.local(self.gradient).values())
        ]
        self.restore_views()

    @property
    def total_size(self) -> int:
        """Number of trainable values of all workers together."""
        return sum(parameter.numel() for parameter in self.parameters)

    def local(self, buffer: Tensor, start: int = 0) -> dict[str, Tensor]:
        """This worker's shard of each parameter that lies in a stretch of the buffer, without what fills it up.

        Args:
            buffer: a stretch of a buffer [n].
            start: where in the whole buffer it begins.
        """
        found = {}
        for shard, (name, where) in zip(self._shards, self.slices.items()):
            if where.start >= start and where.stop <= start + len(buffer):
                padded = buffer[where.start - start : where.stop - start].view(
                    shard.padded_sharded_param_size
                )
                found[name] = padded.narrow(0, 0, shard.sharded_size[0])
        return found

    def views(self, buffer: Tensor) -> list[Tensor]:
        """The stretches of a buffer [n <= P] that FSDP gathers parameters from, one-dimensional."""
        return [buffer[where] for where in self.slices.values() if where.stop <= len(buffer)]

    def restore_views(self) -> None:
        """Make every ``parameter.grad`` a view of the buffer again; FSDP adds to what is there."""
        for parameter, gradient in zip(self.parameters, self._own_gradients):
            parameter.grad = gradient  # pyright: ignore[reportAttributeAccessIssue]

    def sum_shards(self, partial: Tensor) -> Tensor:
        """The sum of ``partial`` over the workers, each of which holds the share of its own shards."""
        summed = partial.clone()
        dist.all_reduce(summed)
        return summed

    @contextmanager
    def replaced(self, views: list[Tensor]):
        """Let FSDP gather the first ``len(views)`` parameters from other memory: pointers change, no values."""
        shards = self._shards[: len(views)]
        _point(shards, views)
        try:
            yield
        finally:
            _point(shards, self._own_values[: len(views)])


def _point(shards: list[Any], views: list[Tensor]) -> None:
    for shard, view in zip(shards, views):
        shard._sharded_param_data = view


def _shards_of(model: nn.Module) -> dict[int, Any]:
    """FSDP's own account of each sharded parameter, by the parameter's id."""
    from torch.distributed.fsdp import FSDPModule

    found: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, FSDPModule):
            state = module._get_fsdp_state()
            group = state._fsdp_param_group
            for shard in group.fsdp_params if group is not None else ():
                found[id(shard.sharded_param)] = shard
    return found
