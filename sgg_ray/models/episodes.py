"""Which labelled rows are shown before a row: episodes, in the format in which a model is asked in context.

MetaICL (Min et al. 2022, arXiv 2110.15943) trains on such episodes of other tasks, test-time training (Akyürek et al.
2024, arXiv 2411.07279) on those that leave out one shot of the target's after the other.
"""

import numpy as np


def in_turn(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random order [n] in which the classes take turns: any beginning of it is as balanced as it can be."""
    order = random.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for value in np.unique(labels):
        members = order[labels[order] == value]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")]


def most_examples(labels: np.ndarray, count: int) -> int:
    """How many rows are shown before one that is left out: ``count``, or fewer so that all classes have as many.

    If a row's own class were shown less often because the row itself is missing, that would tell its label.
    """
    _, sizes = np.unique(labels, return_counts=True)
    return min(count, len(sizes) * (int(sizes.min()) - 1))


def others(labels: np.ndarray, count: int, key: tuple[int, ...]) -> list[np.ndarray]:
    """For each row the numbers of other rows that are shown before it, :func:`most_examples` at most, classes in turn.

    Args:
        labels: of the rows [n].
        count: rows to show.
        key: of the random order, beside the row's number.
    """
    shown = most_examples(labels, count)
    found = []
    for row in range(len(labels)):
        rest = np.delete(np.arange(len(labels)), row)
        order = in_turn(labels[rest], np.random.default_rng([*key, row]))
        found.append(rest[order[:shown]])
    return found
