"""Backward passes over the batches of a step: which rows, under which random state, summed over which workers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgg_ray.config import Config
from sgg_ray.gradients import FlatParameters
from sgg_ray.models import Batch, TaskModel, TokenisedRows
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.parameter_layout import Layout
from sgg_ray.training.reduction import STRETCH, GradientSum, SummedByShards
from sgg_ray.training.sampling import by_length, shard, source_batch, target_batch
from sgg_ray.training.throughput import Throughput

Pair = tuple[TokenisedRows, int]  # rows of a task, and the number of one of them

# What a pass is for: each has random numbers of its own. The values are part of what a seed means: never change them.
SOURCES, TARGET, COMBINATION, PROBE, BANDIT, EACH_SOURCE = 1, 2, 4, 5, 6, 10


class GradientPasses(ABC):
    """What an update needs of the passes of a step; what a batch consists of is up to the subclass.

    Attributes:
        flat: the parameters and the gradient buffer.
        sum: over the workers.
    """

    flat: FlatParameters
    sum: GradientSum | SummedByShards

    @abstractmethod
    def target_batch(self, step: int) -> Sequence[Any]:
        """What the target's loss of a step is taken over."""

    @abstractmethod
    def source_batch(self, step: int, weights: Mapping[str, float]) -> Sequence[Any]:
        """What the mixture's loss of a step is taken over."""

    @abstractmethod
    def losses(
        self, pairs: Sequence[Any], total: int, step: int, purpose: int, complete: bool = True
    ) -> Iterator[Tensor]:
        """Losses of this worker's micro-batches: their sum over micro-batches and workers is the mean loss."""

    def backward(self, pairs: Sequence[Any], total: int, step: int, purpose: int) -> Tensor:
        """Put the gradient of the mean loss, summed over workers, into the flat buffer; return this worker's loss."""
        self.flat.zero_gradient()
        loss = torch.zeros((), device=self.flat.device)
        for part in self.losses(pairs, total, step, purpose):
            part.backward()
            loss += part.detach()
        # A worker without rows takes part as well: the others would wait for it for ever.
        self.sum.all_reduce(self.flat.gradient)
        return loss


class Passes(GradientPasses):
    """Gradients of mean losses over global batches, in the model's flat buffer.

    Every result is a function of (seed, step, purpose) and the parameters: nothing is remembered between two passes. A
    resumed run, and a second pass over the same rows for H·v, therefore see the same rows and dropout masks.

    Args:
        model: on its device.
        target: the target's few-shot rows.
        sources: rows by source name.
        layout: of the model's parameters.
        config: ``seed`` and the batch sizes of ``train`` are read.
        communicator: the other workers.
    """

    def __init__(
        self,
        model: TaskModel,
        target: TokenisedRows,
        sources: Mapping[str, TokenisedRows],
        layout: Layout,
        config: Config,
        communicator: Communicator,
    ):
        self.model, self.target, self.sources = model, target, dict(sources)
        self.flat = layout.parameters
        self.settings, self._seed = config.train, config.seed
        self.communicator = communicator
        self.throughput = Throughput(model, communicator.world_size)
        self.sum = (
            SummedByShards()
            if self.flat.sharded
            else GradientSum(self.flat, layout.backbone, communicator, STRETCH)
        )

    def target_batch(self, step: int) -> list[Pair]:
        """The target rows of a step, over all workers."""
        rows = target_batch(len(self.target), self.settings.batch_size, step, self._seed, self.target.labels)
        return [(self.target, int(row)) for row in rows]

    def source_batch(self, step: int, weights: Mapping[str, float]) -> list[Pair]:
        """The source rows of a step, drawn from the mixture, over all workers."""
        return self.drawn(self.sources, step, weights)

    def drawn(
        self, sources: Mapping[str, TokenisedRows], step: int, weights: Mapping[str, float]
    ) -> list[Pair]:
        """Rows of a mixture of any sources."""
        sizes = {name: len(rows) for name, rows in sources.items()}
        within = {name: rows.weights for name, rows in sources.items() if rows.weights is not None}
        drawn = source_batch(sizes, dict(weights), self.settings.source_batch_size, step, self._seed, within)
        return [(sources[name], row) for name, row in drawn]

    def seed(self, step: int, *place: int) -> int:
        """A seed for this place of this step."""
        key = [self._seed, step, *place]
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)

    def losses(
        self, pairs: Sequence[Pair], total: int, step: int, purpose: int, complete: bool = True
    ) -> Iterator[Tensor]:
        """Losses of this worker's micro-batches, each divided by ``total``: their sum over workers is the mean loss.

        The random state is set before each micro-batch from (seed, step, purpose, micro-batch, worker): asking for the
        same losses again repeats the same dropout masks. A finite difference needs that, or it would measure the masks.

        Args:
            pairs: the rows over all workers.
            total: the size of the global batch. Not that of this worker's share: shares differ by a row, and a mean of
                means would weigh rows by the worker that they fall to.
            step: of the training.
            purpose: one of the constants of this module.
            complete: whether the gradient is complete after the backward pass of the last one, so that its sum over the
                workers may begin while that pass still runs.
        """
        mine = shard(pairs, self.communicator.rank, self.communicator.world_size)
        size = self.settings.micro_batch_size or max(1, len(mine))
        if size < len(mine):
            mine = by_length(mine)
        for number, start in enumerate(range(0, len(mine), size)):
            torch.manual_seed(self.seed(step, purpose, number, self.communicator.rank))
            loss = self.model.losses(self._batch(mine[start : start + size])).sum() / total
            if complete and start + size >= len(mine):
                self.sum.arm()
            yield loss
        if self.flat.sharded:
            yield from self._in_step(pairs, len(range(0, len(mine), size)), size)

    def _batch(self, pairs: Sequence[Pair]) -> Batch:
        started = time.perf_counter()
        batch = self.model.collate(pairs)
        self.throughput.seconds += time.perf_counter() - started
        self.throughput.passed += batch.real_tokens
        return batch

    def backward(self, pairs: Sequence[Pair], total: int, step: int, purpose: int) -> Tensor:
        """Put the gradient of the mean loss, summed over workers, into the flat buffer; return this worker's loss."""
        before = self.throughput.passed
        loss = super().backward(pairs, total, step, purpose)
        if purpose != PROBE:
            self.throughput.tokens += self.throughput.passed - before
        return loss

    def _in_step(self, pairs: Sequence[Pair], done: int, size: int) -> Iterator[Tensor]:
        """Losses of 0, until this worker has had as many passes as any: those of a sharded model need all workers."""
        most = -(-len(pairs) // self.communicator.world_size)
        needed = -(-most // (self.settings.micro_batch_size or max(1, most)))
        for _ in range(needed - done):
            yield self.model.losses(self.model.collate(pairs[:1])).sum() * 0.0
