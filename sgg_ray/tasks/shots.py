"""Which rows become the target's shots, and what is worth saying about shots and test rows, for each kind of target."""

import numpy as np

from sgg_ray.config import Kind, TargetConfig, quoted_label
from sgg_ray.errors import DataError
from sgg_ray.tasks.select import first_of_each_class
from sgg_ray.tasks.task import ONE_LABEL, Rows

LEAST_SKEWED = 10  # rows
SKEWED = 0.8  # share of the largest class from which on it is told
LEAST_NUMBERS = 2  # shots of kind regression


def draw_shots(entry: TargetConfig, order: np.ndarray, rows: Rows) -> np.ndarray:
    """Positions of the shots: the first of each class in ``order``; where rows have no classes, the first of all.

    Of kind multi_label a row is taken while one of its labels has too few; rows without labels are one more group.
    """
    count = len(rows) if entry.shots == "all" else entry.shots
    if entry.kind == "multiple_choice":
        return order[:count]
    if entry.kind != "multi_label":
        return first_of_each_class(order, rows.labels, count)
    assert rows.values is not None
    groups = np.column_stack([rows.values, rows.values.sum(axis=1) == 0]).astype(bool)
    have = np.zeros(groups.shape[1], dtype=np.int64)
    chosen = []
    for row in order:
        if (have[groups[row]] < count).any():
            chosen.append(row)
            have += groups[row]
    return np.array(chosen, dtype=np.int64)


def few_shots(entry: TargetConfig, labels: tuple[str, ...], rows: Rows, told: list[str]) -> list[str]:
    """A note about classes that have fewer rows than ``shots``.

    Args:
        rows: those that shots can be drawn from.
        told: what reading has reported, for the message.

    Raises:
        DataError: a class has no row at all, or a task without classes too few.
    """
    because = f" ({'; '.join(told)})" if told else ""
    advice = "lower target.shots or target.test.fraction, or add rows"
    if entry.kind in ("generation", "regression", "multiple_choice"):
        if entry.shots != "all" and len(rows) < entry.shots:
            found = f"{entry.shots} rows are needed beside the test rows, found {len(rows)}{because}"
            raise DataError(f"target.shots: {found}; {advice}")
        if entry.kind == "regression":
            _check_numbers(entry, rows)
        return []
    have = _rows_of_each(labels, rows)
    empty = [name for name, count in zip(labels, have) if not count]
    if empty:
        counts = ", ".join(f"{quoted_label(name)} {count}" for name, count in zip(labels, have))
        raise DataError(
            f"target.shots: no row of class {', '.join(empty)} is left beside the test rows, found {counts}{because}; "
            f"{advice}, or leave the class out of target.labels"
        )
    if entry.shots == "all":
        return []
    fewer = [f"{quoted_label(name)} {count}" for name, count in zip(labels, have) if count < entry.shots]
    if not fewer:
        return []
    return [f"fewer rows than target.shots {entry.shots}, all of them used: {', '.join(fewer)}"]


def _check_numbers(entry: TargetConfig, rows: Rows) -> None:
    assert rows.values is not None
    if (entry.shots != "all" and entry.shots < LEAST_NUMBERS) or len(np.unique(rows.values)) < LEAST_NUMBERS:
        raise DataError(
            "target.shots: kind regression needs at least two rows with different numbers to train on; raise it, or "
            "give other rows"
        )


def _rows_of_each(labels: tuple[str, ...], rows: Rows) -> np.ndarray:
    """Rows that have each label: [C]."""
    if rows.values is not None:
        return rows.values.sum(axis=0).astype(np.int64)
    return np.bincount(rows.labels, minlength=len(labels))


def about_test_rows(kind: Kind, labels: tuple[str, ...], rows: Rows) -> list[str]:
    """Notes about classes that the test rows lack, or that are so large that accuracy says little."""
    if kind in ("generation", "regression", "multiple_choice") or not len(rows):
        return []
    counts = _rows_of_each(labels, rows)
    absent = [name for name, count in zip(labels, counts) if not count]
    notes = [f"test: no row of class {', '.join(absent)}"] if absent else []
    if kind not in ONE_LABEL or len(rows) < LEAST_SKEWED or counts.max() < SKEWED * len(rows):
        return notes
    most = labels[int(counts.argmax())]
    return [
        *notes,
        f"{counts.max() / len(rows):.0%} of the test rows are '{most}'; always predicting it would score as well",
    ]
