"""In which order trainable parameters lie in the flat buffer, and how each stretch is optimised.

    [ private: the target's head, if no source shares it | shared with sources | heads of other label sets ]

Within each segment backbone and heads, and parameters with and without weight decay, lie together. Everything that
treats parameters differently is then a handful of contiguous slices: the alignment term compares the shared slice,
and the optimiser updates a few large tensors instead of hundreds of small ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import nn

from sgg_ray.config import TrainConfig
from sgg_ray.errors import ModelError
from sgg_ray.gradients import FlatParameters, ShardedParameters
from sgg_ray.models import TaskModel, is_sharded


@dataclass(frozen=True)
class Placement:
    """Sort key of one parameter in the flat buffer: private to the target, shared, or used by sources alone."""

    segment: int  # 0 private to the target, 1 shared, 2 heads that only sources use
    is_head: bool
    decays: bool


@dataclass(frozen=True)
class Layout:
    """The flat buffer with its segments and optimiser groups."""

    parameters: FlatParameters
    private: slice
    shared: slice
    groups: tuple[tuple[slice, Placement], ...]

    @property
    def backbone(self) -> slice:
        """The longest stretch of backbone parameters: its matrices, in the model's order."""
        groups = [where for where, placement in self.groups if not placement.is_head]
        return max(groups, key=lambda where: where.stop - where.start, default=slice(0, 0))


def _place(
    name: str, parameter: nn.Parameter, heads: dict[str, str], target: str, sources: set[str]
) -> Placement:
    head = heads.get(name)
    if head is None:
        segment = 1 if sources else 0
    elif head == target:
        segment = 1 if head in sources else 0
    else:
        segment = 2
    return Placement(segment, head is not None, parameter.ndim > 1)


def lay_out(model: TaskModel, target_head: str, source_heads: Iterable[str]) -> Layout:
    """Move the model's trainable parameters into one flat buffer.

    Args:
        model: on its final device.
        target_head: the head that the target's rows are predicted by.
        source_heads: the heads of the sources in the mixture; empty when the target is trained alone.

    Raises:
        ModelError: nothing is trainable.
    """
    sources = set(source_heads)
    used = sources | {target_head}
    heads = {name: key for key in model.labels for name in model.head_parameters(key)}
    placed = [
        (_place(name, parameter, heads, target_head, sources), name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and heads.get(name, target_head) in used
    ]
    if not placed:
        raise ModelError("model: nothing is trainable; choose another adapter")
    placed.sort(
        key=lambda item: (item[0].segment, item[0].is_head, item[0].decays)
    )  # stable: model order within
    named = [(name, parameter) for _, name, parameter in placed]
    parameters = ShardedParameters(named, model) if is_sharded(model) else FlatParameters(named)
    groups, ends, start = [], [0, 0, 0], 0
    for placement, members in groupby(placed, key=lambda item: item[0]):
        stop = parameters.slices[list(members)[-1][1]].stop
        groups.append((slice(start, stop), placement))
        ends[placement.segment] = stop
        start = stop
    private = slice(0, ends[0])
    return Layout(parameters, private, slice(private.stop, max(ends[0], ends[1])), tuple(groups))


def build_optimiser(layout: Layout, config: TrainConfig) -> torch.optim.AdamW:
    """Fused AdamW over the groups' slices. Heads have their own learning rate; biases and norms do not decay."""
    return torch.optim.AdamW(
        [
            {
                "params": [layout.parameters.parameter(where)],
                "lr": config.head_learning_rate if placement.is_head else config.learning_rate,
                "weight_decay": config.weight_decay if placement.decays else 0.0,
            }
            for where, placement in layout.groups
        ],
        fused=True,
    )


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over the first share ``warmup`` of the steps, then linear decay towards 0."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return (steps - step) / max(steps - rising, 1)
