"""Gradients of losses at all trainable parameters of a model: in one process, or in parts where the model is sharded.

A sketch is linear: that of a gradient is the sum of the sketches of its pieces, wherever they lie.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sgg_ray.gradients import Summariser
from sgg_ray.models import is_sharded
from sgg_ray.scoring.layer_split import layer_of


@dataclass(frozen=True)
class Gradient:
    """A gradient at all trainable parameters, or at those of a layer.

    Attributes:
        sizes: number of values of each parameter, by name, in the order in which they make one vector [P].
        pieces: by the name of a parameter, where in it the values that this process holds begin, and they [n]. A
            parameter that is left out has none here.
        sharded: whether the other workers of the process group hold the other values.
        device: of the pieces of a sharded one.
    """

    sizes: Mapping[str, int]
    pieces: Mapping[str, tuple[int, Tensor]]
    sharded: bool = False
    device: torch.device | None = None

    @property
    def dimension(self) -> int:
        """P: number of values, on all workers together."""
        return sum(self.sizes.values())

    def whole(self) -> Tensor:
        """All values [P], of a gradient that is not sharded."""
        assert not self.sharded
        return torch.cat([self.pieces[name][1] for name in self.sizes])

    def compressed(self, summariser: Summariser) -> Tensor:
        """What is sent of it [D], the same on all workers, each of which has to call this."""
        if not self.sharded:
            return summariser.compress(self.whole().unsqueeze(0))[0]
        total, start = torch.zeros(summariser.sent, device=self.device), 0
        for name, size in self.sizes.items():
            if name in self.pieces:
                place, values = self.pieces[name]
                summariser.add_piece(total, values, start + place)
            start += size
        dist.all_reduce(total)
        return total

    def by_layer(self) -> "dict[str, Gradient]":
        """The gradient at the parameters of each layer (see :func:`.layer_split.layer_of`), in the model's order."""
        names: dict[str, list[str]] = {}
        for name in self.sizes:
            names.setdefault(layer_of(name), []).append(name)
        return {
            layer: Gradient(
                {name: self.sizes[name] for name in own},
                {name: self.pieces[name] for name in own if name in self.pieces},
                self.sharded,
                self.device,
            )
            for layer, own in names.items()
        }


def whole_gradient(module: nn.Module, values: Iterable[Tensor]) -> Gradient:
    """A gradient that this process holds all of.

    Args:
        module: whose trainable parameters it is at.
        values: of each of them, in their order.
    """
    named = {name: value.flatten().float() for (name, _), value in zip(trained(module), values, strict=True)}
    sizes = {name: len(value) for name, value in named.items()}
    return Gradient(sizes, {name: (0, value) for name, value in named.items()})


def trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and trainable parameters, in order; a tied parameter counts once."""
    return [(name, value) for name, value in module.named_parameters() if value.requires_grad]


class LossGradients:
    """Takes gradients of sums of losses, one after the other. Of a sharded model all workers have to, in step.

    Args:
        module: with the trainable parameters. If it is sharded, the root of that.
    """

    def __init__(self, module: nn.Module):
        self.module, self.sharded = module, is_sharded(module)

    def of(self, batches: Iterable[np.ndarray], loss_of: Callable[[np.ndarray, float], Tensor]) -> Gradient:
        """The gradient of the sum of the batches' losses.

        Args:
            batches: row numbers [b], the same on all workers, which divide each batch among themselves.
            loss_of: from row numbers to the sum of their losses times a factor.
        """
        return self._by_backward(batches, loss_of) if self.sharded else self._by_grad(batches, loss_of)

    def _by_grad(
        self, batches: Iterable[np.ndarray], loss_of: Callable[[np.ndarray, float], Tensor]
    ) -> Gradient:
        parameters = [parameter for _, parameter in trained(self.module)]
        total: list[Tensor] | None = None
        for batch in batches:
            found = torch.autograd.grad(
                loss_of(batch, 1.0), parameters, allow_unused=True, materialize_grads=True
            )
            total = list(found) if total is None else [a + b for a, b in zip(total, found)]
        assert total is not None
        return whole_gradient(self.module, total)

    def _by_backward(
        self, batches: Iterable[np.ndarray], loss_of: Callable[[np.ndarray, float], Tensor]
    ) -> Gradient:
        """FSDP sums the gradients of the workers' shares within the backward pass, and leaves each its shard."""
        rank, workers = dist.get_rank(), dist.get_world_size()
        named = trained(self.module)
        for _, parameter in named:
            parameter.grad = None
        for batch in batches:
            mine = batch[rank::workers]
            # Every pass needs all workers: one without rows computes another's, and it counts for nothing.
            loss = loss_of(mine, 1.0) if len(mine) else loss_of(batch[:1], 0.0)
            loss.backward()
        pieces = {}
        for name, parameter in named:
            shard = parameter.grad
            parameter.grad = None
            if shard is not None and (values := shard.to_local().float().flatten()).numel():  # pyright: ignore[reportAttributeAccessIssue]
                rows = -(
                    -parameter.shape[0] // workers
                )  # of the first dimension on each worker but the last ones
                pieces[name] = rank * rows * (parameter.numel() // parameter.shape[0]), values
        sizes = {name: parameter.numel() for name, parameter in named}
        return Gradient(sizes, pieces, True, named[0][1].device)
