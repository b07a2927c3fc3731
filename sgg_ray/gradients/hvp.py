"""Hessian-vector products H·v of the training loss, added to the gradient in the flat buffer.

v = a·g + b·r + c·s is a combination of vectors that exist anyway, so it is never stored, except for
``exact``.

With k = ‖v‖/ε, ε being the distance moved, the forward difference is

    g + H·v ≈ g + k·(∇L(θ + v/k) − g) = k·((1/k − 1)·g + ∇L(θ + v/k)):

the buffer that holds g is scaled by (1/k − 1), the second backward pass accumulates on top of it, and the sum
is scaled by k. No second gradient buffer is needed. Any k is a valid difference step, so k is kept away from
0, where the scaled g would drown the second gradient: ε is the *largest* step.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sgg_ray.errors import ModelError
from sgg_ray.gradients.flat import FlatParameters
from sgg_ray.gradients.kernels import Weights, combine, track

SMALLEST_RATIO = 0.01  # of ‖v‖/ε: below, H·v is far below the rounding of g

Losses = Callable[[], Iterable[Tensor]]
Reduce = Callable[[Tensor], None]


@dataclass(frozen=True)
class Direction:
    """The vector v = a·g + b·r + c·s, given by coefficients, and how the reference r moves on when g is read.

    Attributes:
        segments: contiguous stretches of the flat vector that begin at 0; v is zero beyond them.
        coefficients: [segments, 3] (a, b, c) of each, float64, on the device.
        reference: r, at least as long as the segments; None counts as zeros.
        source: s, likewise.
        norm: ‖v‖, on the device.
        momentum: [2] (keep, gain): the reference becomes keep·r + gain·g; None leaves it alone.
    """

    segments: Sequence[slice]
    coefficients: Tensor
    reference: Tensor | None
    source: Tensor | None
    norm: Tensor
    momentum: Tensor | None = None

    @property
    def size(self) -> int:
        """How many of the first values of the flat vector v covers."""
        return self.segments[-1].stop

    def weights(self, factor: Tensor, scale: Tensor) -> list[Weights]:
        """Coefficients of g, r and ĝ_S for each segment, which make ``factor`` · v; for :func:`combine`."""
        tail = scale.reshape(1) if self.momentum is None else torch.cat([scale.reshape(1), self.momentum])
        rows = torch.cat([self.coefficients * factor, tail.expand(len(self.segments), -1)], 1)
        return [Weights(row) for row in rows]


class Workspace:
    """The one buffer that a second pass needs: moved parameters (or v itself), kept from step to step."""

    def __init__(self, parameters: FlatParameters, size: int):
        self.buffer = torch.empty_like(parameters.values[:size])
        self.views = parameters.views(self.buffer)


def add_hvp_forward(
    parameters: FlatParameters,
    direction: Direction,
    losses: Losses,
    reduce: Reduce,
    workspace: Workspace,
    distance: Tensor,
    world_size: int = 1,
) -> None:
    """gradient ← g + H·v by a forward difference of gradients: one more pass.

    Args:
        parameters: with g, summed over the workers, in its gradient buffer.
        direction: v.
        losses: yields the losses of this worker's micro-batches again, under the random state of the first
            time; their sum over micro-batches and workers is the loss that g belongs to.
        reduce: sums a tensor over the workers, in place.
        workspace: of ``direction.size`` values.
        distance: ε, the largest distance from θ to move.
        world_size: number of workers.
    """
    ratio = _ratio(direction, distance)
    # Every worker holds the whole g, so each contributes its share of it to the sum.
    _move(parameters, direction, workspace, 1 / ratio, (1 / ratio - 1) / world_size)
    _accumulate(parameters, workspace, losses)
    _finish(parameters, direction, reduce, ratio)


def add_hvp_central(
    parameters: FlatParameters,
    direction: Direction,
    losses: Losses,
    reduce: Reduce,
    workspace: Workspace,
    distance: Tensor,
    world_size: int = 1,
) -> None:
    """gradient ← g + H·v by a central difference: two more passes, with an error of second order in
    ``distance``.

    Arguments as :func:`add_hvp_forward`.
    """
    half = _ratio(direction, distance) / 2
    _move(parameters, direction, workspace, 0.5 / half, 1 / (half * world_size))
    _accumulate(parameters, workspace, losses)
    # The mirror image of the point that was really reached: rounding of the step cancels.
    workspace.buffer.neg_().add_(parameters.values[: direction.size], alpha=2)
    _accumulate(parameters, workspace, losses, sign=-1.0)
    _finish(parameters, direction, reduce, half)


def add_hvp_exact(
    parameters: FlatParameters,
    direction: Direction,
    losses: Losses,
    reduce: Reduce,
    workspace: Workspace,
    world_size: int = 1,
) -> None:
    """gradient ← g + H·v by differentiating twice; two to four times the time and memory of the forward
    difference.

    Arguments as :func:`add_hvp_forward`; fused attention has no second derivative, so attention is computed
    by its formula. Micro-batches bound the memory.

    Raises:
        ModelError: an operation of the model cannot be differentiated twice.
    """
    v, gradient = workspace.buffer, parameters.gradient[: direction.size]
    for where, (a, b, c) in zip(direction.segments, direction.coefficients.to(v.dtype)):
        part = torch.mul(gradient[where], a, out=v[where])
        if direction.reference is not None:
            part.addcmul_(direction.reference[where], b)
        if direction.source is not None:
            part.addcmul_(direction.source[where], c)
    if direction.reference is not None and direction.momentum is not None:
        track(gradient, direction.reference, direction.momentum)
    gradient.div_(world_size)
    inputs = parameters.parameters[: len(workspace.views)]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            for loss in losses():
                firsts = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)
                products = [
                    (first * view).sum()
                    for first, view in zip(firsts, workspace.views)
                    if first is not None and first.requires_grad
                ]
                if products:  # a loss that is linear in the parameters has no second derivative
                    torch.stack(products).sum().backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ModelError(
            "guidance.hvp: 'exact' needs a model that can be differentiated twice, without re-entrant "
            f"gradient checkpointing; found: {str(error).splitlines()[0]}; use hvp: finite_difference"
        ) from error
    reduce(gradient)


def _ratio(direction: Direction, distance: Tensor) -> Tensor:
    return (direction.norm / distance).clamp(min=SMALLEST_RATIO)


def _move(
    parameters: FlatParameters, direction: Direction, workspace: Workspace, factor: Tensor, scale: Tensor
) -> None:
    """Workspace ← θ + factor·v and g ← scale·g; the reference moves on."""
    for where, weights in zip(direction.segments, direction.weights(factor, scale)):
        combine(
            parameters.gradient[where],
            None if direction.reference is None else direction.reference[where],
            None if direction.source is None else direction.source[where],
            weights,
            values=parameters.values[where],
            moved=workspace.buffer[where],
            track=direction.momentum is not None,
        )


def _accumulate(parameters: FlatParameters, workspace: Workspace, losses: Losses, sign: float = 1.0) -> None:
    with parameters.replaced(workspace.views):
        for loss in losses():
            loss.backward(torch.full_like(loss, sign))


def _finish(parameters: FlatParameters, direction: Direction, reduce: Reduce, factor: Tensor) -> None:
    gradient = parameters.gradient[: direction.size]
    reduce(gradient)
    gradient.mul_(factor.to(gradient.dtype))
