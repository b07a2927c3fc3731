"""Rows of a toy task, and what rows are compared by."""

from sgg_ray.tasks import Rows, Task
from sgg_ray.tasks.select import text_key


def reviews(number: int, prefix="row", labels=("negative", "positive")) -> list[tuple[str, object]]:
    """``number`` rows (text, label), the labels in turn."""
    return [(f"{prefix} {position}", labels[position % len(labels)]) for position in range(number)]


def pairs(task: Task, rows: Rows) -> set[tuple]:
    """Text and label of each row."""
    return {(text, task.labels[label]) for text, label in zip(rows.texts, rows.labels)}


def keys(rows: Rows) -> set[str]:
    """What texts are told apart by."""
    return {text_key(text) for text in rows.texts}
