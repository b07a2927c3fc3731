"""The gradient of every example by itself from one backward pass, where all that is trained are linear layers.

An adapter such as LoRA is made of them. The gradient of a layer y = W x is Σ_t δ_t x_tᵀ over an example's tokens, δ
being the gradient at y: the backward pass of a whole batch has everything (Goodfellow, 2015, "Efficient per-example
gradient computations"). One pass for each example would be as many times as many launches.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

MOST_VALUES = 1 << 28  # of gradients that are held at once: 1 GiB


class MixedRowsError(Exception):
    """A layer does not see the sequences as they are, so that its inputs cannot be told apart by row (experts)."""


def trained_layers(model: nn.Module) -> list[nn.Linear] | None:
    """The linear layers whose weights all trainable parameters are, in the parameters' order; None if some are not."""
    owners: dict[int, list[nn.Linear]] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            owners.setdefault(id(module.weight), []).append(module)
    found = [owners.get(id(weight), []) for weight in model.parameters() if weight.requires_grad]
    return [layers[0] for layers in found] if found and all(len(layers) == 1 for layers in found) else None


def rows_at_once(layers: Sequence[nn.Linear], batch_size: int) -> int:
    """``batch_size``, or fewer where the rows' gradients would hold more than MOST_VALUES."""
    return max(1, min(batch_size, MOST_VALUES // sum(layer.weight.numel() for layer in layers)))


def example_gradients(
    layers: Sequence[nn.Linear],
    losses_of: Callable[[np.ndarray], Tensor],
    chosen: np.ndarray,
    batch_size: int,
) -> Iterator[Tensor]:
    """Gradient of each chosen row's loss at the weights of ``layers``, in the rows' order: [P] each.

    Args:
        layers: by :func:`trained_layers`.
        losses_of: from row numbers [b] to losses [b]; all rows have equally many sequences, which lie side by side in
            the layers' inputs [b · sequences, T, in].
        chosen: row numbers [n].
        batch_size: rows at once at most; fewer where their gradients would hold more than MOST_VALUES.

    Raises:
        MixedRowsError: before the first gradient, if a layer is not called once with [b · sequences, T, in].
    """
    size = rows_at_once(layers, batch_size)
    for start in range(0, len(chosen), size):
        batch = chosen[start : start + size]
        calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}

        def record(layer, arguments, output, calls=calls):
            calls[layer].append((arguments[0].detach(), output))

        with ExitStack() as hooks:
            for layer in layers:
                hooks.callback(layer.register_forward_hook(record).remove)
            losses = losses_of(batch)
        if any(len(own) != 1 or own[0][0].ndim != 3 or len(own[0][0]) % len(batch) for own in calls.values()):
            raise MixedRowsError
        deltas = torch.autograd.grad(losses.sum(), [own[0][1] for own in calls.values()])
        pieces = []
        for ((x, _),), delta in zip(calls.values(), deltas):
            x, delta = (value.reshape(len(batch), -1, value.shape[-1]).float() for value in (x, delta))
            pieces.append(torch.einsum("bto,bti->boi", delta, x).flatten(1))
        yield from torch.cat(pieces, dim=1)
