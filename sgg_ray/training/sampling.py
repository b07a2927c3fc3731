"""Which rows a step sees: a function of (seed, step) alone.

Nothing is remembered between steps, so a resumed run, a restarted worker and any number of workers see the same
batches, and two strategies with one seed see the same target rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sgg_ray.models import TokenisedRows
from sgg_ray.tasks import COMPLETIONS

# Independent random streams of one seed.
TARGET, SOURCE = 1, 2


def target_batch(rows: int, size: int, step: int, seed: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Row numbers of a target batch: epochs of a seeded shuffle, each row once an epoch.

    A batch may straddle two epochs, so that every batch has ``size`` rows, or all of them if there are fewer.

    Args:
        rows: how many rows the target has for training.
        size: global batch size.
        step: which step of the run, from 0.
        seed: the run's seed.
        labels: of the rows [rows]; where classes differ in size, each is spread evenly over the epoch, so that batches
            hold them in their proportions. Classes of one size, and None, are left to the shuffle.

    Returns:
        Row numbers [min(size, rows)].
    """
    if rows <= size:
        return np.arange(rows)
    first = step * size
    positions = np.arange(first, first + size)
    epochs, offsets = np.divmod(positions, rows)
    batch = np.empty(size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = np.random.default_rng([seed, TARGET, int(epoch)]).permutation(rows)
        if labels is not None:
            order = _spread(order, labels)
        inside = epochs == epoch
        batch[inside] = order[offsets[inside]]
    return batch


def _spread(order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The rows of ``order`` with each class at even distances, and those of a class in their order."""
    counts = np.bincount(labels)
    if len(set(counts[counts > 0])) == 1:
        return order
    place = np.empty(len(order))
    for value in np.flatnonzero(counts):
        members = np.flatnonzero(labels[order] == value)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(place, kind="stable")]


def source_batch(
    rows: dict[str, int],
    weights: dict[str, float],
    size: int,
    step: int,
    seed: int,
    within: Mapping[str, np.ndarray] | None = None,
):
    """Draw a batch from the source mixture Σ_s w_s L_s: (source, row number) pairs.

    Systematic sampling: source s gets ⌊size·w_s⌋ or ⌈size·w_s⌉ rows, size·w_s on average, so the mean loss of the
    batch is an unbiased estimate of the mixture with less variance than independent draws.

    Args:
        rows: number of rows by source.
        weights: non-negative, summing to 1; sources that are not named have weight 0.
        size: global batch size.
        step: which step of the run, from 0.
        seed: the run's seed.
        within: positive weights of the rows [n] by source, for those whose rows are not drawn alike.

    Returns:
        ``size`` pairs, or none if every weight is 0.
    """
    names = [name for name in rows if weights.get(name, 0.0) > 0 and rows[name] > 0]
    if not names:
        return []
    random = np.random.default_rng([seed, SOURCE, step])
    shares = np.cumsum([weights[name] for name in names])
    points = (np.arange(size) + random.random()) / size * shares[-1]
    chosen = np.minimum(np.searchsorted(shares, points, side="right"), len(names) - 1)
    pairs: list[tuple[str, int]] = []
    for number, count in zip(*np.unique(chosen, return_counts=True)):
        name = names[number]
        replace = bool(count > rows[name])
        own = (within or {}).get(name)
        chances = None if own is None else own / own.sum()
        drawn = random.choice(rows[name], size=int(count), replace=replace, p=chances)
        pairs += [(name, int(row)) for row in drawn]
    return pairs


def shard(items, rank: int, world_size: int):
    """The part of a global batch that one worker computes: every ``world_size``-th item."""
    return items[rank::world_size]


def by_length(pairs: Sequence[tuple[TokenisedRows, int]]) -> list[tuple[TokenisedRows, int]]:
    """A worker's rows in the order in which they are cut into micro-batches: the shortest first, to pad little.

    Rows with labels alone stay as they are: their lengths differ less, and trainings of old repeat bit for bit.
    """
    if all(rows.head != COMPLETIONS for rows, _ in pairs):
        return list(pairs)
    return sorted(pairs, key=lambda pair: pair[0].length(pair[1]))
