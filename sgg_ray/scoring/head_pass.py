"""One pass over the rows of a source at a head: all that is asked of them, from one matrix product a block.

Rows may be a million, and on disk. What a target asks of them is linear in their features but for their lengths: the
products with some dozens of directions. So every block of rows is read once and multiplied once, in single precision.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sgg_ray.rows import RowAlignment, opposing_rows

BLOCK = 1024  # rows at once: a shard of the index, which stays in a processor's cache
MOST_AGAINST = 3  # shots that are named as speaking against a row

Group = tuple[
    np.ndarray, np.ndarray | None
]  # directions [k, H], and an offset [k]; None: that of the rows' mean


@dataclass(frozen=True)
class Meeting:
    """How rows of one task meet the target at a head.

    Attributes:
        mean: [H] what the rows' features are taken less of.
        table: residual of a row in the target's labels, by its class [L, C].
        gradient: mean gradient of the target's shots [C, H].
        preconditioned: the target's expected gradient times the inverse covariance of the noise [C, H].
        shots: features of the shots less their mean [m, H].
        shot_residuals: [m, C].
    """

    mean: np.ndarray
    table: np.ndarray
    gradient: np.ndarray
    preconditioned: np.ndarray
    shots: np.ndarray
    shot_residuals: np.ndarray


@dataclass(frozen=True)
class RowReading:
    """What a pass leaves of the rows of a task.

    Attributes:
        alignment: of each row with the target.
        against: shots of the target that oppose each row most [n, MOST_AGAINST], −1 for none; see :func:`read_rows`.
        spoken: products [n, k] with the directions of each further group.
    """

    alignment: RowAlignment
    against: np.ndarray
    spoken: dict[str, np.ndarray]


def read_rows(
    features: np.ndarray, classes: np.ndarray, meeting: Meeting, groups: Mapping[str, Group]
) -> RowReading:
    """Compare rows with a target, and multiply them with further directions, in one pass.

    A shot speaks against a row if their gradients oppose each other and their labels differ. A shot with the row's own
    label opposes it too where their texts have opposite features; nobody reading both would see why.

    Args:
        features: [n, H]; may be on disk.
        classes: of these rows [n].
        groups: further directions by name.
    """
    rows, table = len(features), meeting.table.astype(features.dtype)
    alignment = RowAlignment(np.zeros(rows, features.dtype), np.zeros(rows, features.dtype))
    against = np.empty((rows, MOST_AGAINST), dtype=np.int16)
    spoken = {name: np.empty((rows, len(own)), features.dtype) for name, (own, _) in groups.items()}
    agreement = table @ meeting.shot_residuals.T.astype(features.dtype)  # [L, m]
    scale = np.linalg.norm(table, axis=1) * float(np.linalg.norm(meeting.gradient))
    asked: dict[str, Group] = {
        "gradient": (meeting.gradient, None),
        "preconditioned": (meeting.preconditioned, None),
        "shots": (meeting.shots, None),
        **groups,
    }
    for part, products, lengths in projected(features, meeting.mean, asked):
        own = classes[part]
        residuals, agreed = table[own], agreement[own]
        inner = -(products["gradient"] * residuals).sum(axis=1)
        whole = lengths * scale[own]
        np.divide(inner, whole, out=alignment.cosine[part], where=whole > 0)
        alignment.influence[part] = -(products["preconditioned"] * residuals).sum(axis=1)
        against[part] = opposing_rows(np.where(agreed < 0, products["shots"] * agreed, 0.0), MOST_AGAINST)
        for name in groups:
            spoken[name][part] = products[name]
    return RowReading(alignment, against, spoken)


def projected(
    features: np.ndarray, mean: np.ndarray, groups: Mapping[str, Group]
) -> Iterator[tuple[slice, dict[str, np.ndarray], np.ndarray]]:
    """Blocks of rows, their products [b, k] with each group's directions, and their distances from the mean [b].

    Args:
        features: [n, H]; may be on disk.
        mean: [H].
        groups: directions by name.
    """
    stacked = np.concatenate([mean[None], *(own for own, _ in groups.values())])
    offsets = [own @ mean if offset is None else offset for own, offset in groups.values()]
    columns = np.ascontiguousarray(stacked.astype(features.dtype).T)
    shift = np.concatenate([np.zeros(1), *offsets]).astype(features.dtype)
    square = float(mean @ mean)
    places, start = {}, 1
    for name, (own, _) in groups.items():
        places[name] = slice(start, start + len(own))
        start += len(own)
    for begin in range(0, len(features), BLOCK):
        part = slice(begin, min(begin + BLOCK, len(features)))
        rows = np.asarray(features[part])
        found = rows @ columns - shift
        squares = np.einsum("ij,ij->i", rows, rows) - 2 * found[:, 0] + square
        lengths = np.sqrt(np.maximum(squares, 0.0))
        yield part, {name: found[:, place] for name, place in places.items()}, lengths
