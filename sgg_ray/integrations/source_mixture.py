"""Batches of a mixture of data sets, drawn as the product's own loop draws them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sgg_ray.training.sampling import shard, source_batch


class SourceMixture:
    """The source rows of each step, as batches of one process: a function of (seed, step) alone.

    Args:
        rows: data sets by name, with a length and rows by number.
        weights: of the data sets; not negative.
        size: rows a step, over all processes; a multiple of their number.
        limit: most rows of one batch.
        collate: makes a batch of rows.
        seed: of the draws.
        rank: which process this is.
        world_size: how many there are.
    """

    def __init__(
        self,
        rows: Mapping[str, Any],
        weights: Mapping[str, float],
        size: int,
        limit: int,
        collate: Callable[[list[Any]], Any],
        seed: int,
        rank: int,
        world_size: int,
    ):
        self.rows, self.weights, self.size, self.collate = dict(rows), dict(weights), size, collate
        self.seed, self.rank, self.world_size = seed, rank, world_size
        own = size // world_size
        # All batches of a step have one size: the mean of their means is then the mean over the rows.
        self.batch_size = max(part for part in range(1, min(limit, own) + 1) if own % part == 0)

    def batches(self, step: int) -> Sequence[Any]:
        """This process's batches of a step; none if every weight is 0."""
        sizes = {name: len(rows) for name, rows in self.rows.items()}
        drawn = source_batch(sizes, self.weights, self.size, step, self.seed)
        mine = [self.rows[name][row] for name, row in shard(drawn, self.rank, self.world_size)]
        return [
            self.collate(mine[start : start + self.batch_size])
            for start in range(0, len(mine), self.batch_size)
        ]
