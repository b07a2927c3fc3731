"""Guess from a file alone which columns hold texts and labels, and how its rows can be split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgg_ray.config import TaskConfig
from sgg_ray.errors import DataError
from sgg_ray.tasks.labels import MOST_LABELS, clean_labelled, label_names, number_labels
from sgg_ray.tasks.read import no_column, read_table
from sgg_ray.tasks.stream import open_stream

TEXT_NAMES = (
    "text",
    "body",
    "sentence",
    "content",
    "message",
    "review",
    "comment",
    "document",
    "title",
    "question",
)
PAIR_NAMES = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("question", "answer"),
    ("question", "sentence"),
    ("query", "document"),
    ("query", "passage"),
)
LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "topic",
    "sentiment",
    "target",
    "intent",
    "tag",
    "rating",
)
LOOKED_AT = 1000  # rows
MOST_SHOTS = 16
FEW_ROWS, LARGE_SHARE, SMALL_SHARE = (
    200,
    0.3,
    0.2,
)  # of the rows for testing: more of them where there are few


@dataclass(frozen=True)
class Guess:
    """Columns, labels and split guessed for a file, with the reasons."""

    text: tuple[str, ...]  # one column, or the two of a pair
    label: str
    labels: dict[str, int]  # distinct usable rows of each label
    assumed: tuple[str, ...]  # for people: what was taken for what, and why

    @property
    def rows(self) -> int:
        """Distinct usable rows."""
        return sum(self.labels.values())

    @property
    def fraction(self) -> float:
        """Share of the rows for testing."""
        return LARGE_SHARE if self.rows < FEW_ROWS else SMALL_SHARE

    @property
    def shots(self) -> int:
        """Examples of each class beside the test rows, up to the default; smaller classes give all they have."""
        most = max(self.labels.values())
        return max(1, min(MOST_SHOTS, most - math.ceil(self.fraction * most) - 1))


def guess_task(path: Path, where: str, text: Sequence[str] = (), label: str | None = None) -> Guess:
    """Look at a file.

    Args:
        path: a file as a task may have it.
        where: the option that named it, for messages.
        text: the columns with the texts, if they are known.
        label: the column with the labels, if it is known.

    Raises:
        DataError: the file cannot be read, a named column is not there, or nothing looks like texts and labels.
    """
    stream = open_stream(path, where)
    names = stream.schema.names
    problems = [
        no_column(option, name, str(path), names)
        for option, name in (*(("--text", name) for name in text), ("--label", label))
        if name is not None and name not in names
    ]
    if problems:
        raise DataError(problems)
    sample = next(stream.batches(LOOKED_AT)).to_pandas().astype(object)
    columns = {name: [str(value) for value in sample[name] if value is not None] for name in names}
    label, why_label = (label, "as told") if label else _label_column(columns, text, f"{where}: {path}")
    texts, why_text = (tuple(text), "as told") if text else _text_columns(columns, label, f"{where}: {path}")
    counts, notes = _count(path, where, texts, label)
    held = (
        f"column '{texts[0]}' holds the texts"
        if len(texts) == 1
        else f"columns {', '.join(texts)} hold pairs of texts"
    )
    return Guess(
        texts,
        label,
        counts,
        (
            f"{held} ({why_text})",
            f"column '{label}' holds the labels ({why_label})",
            *notes,
        ),
    )


def _label_column(columns: dict[str, list[str]], text: Sequence[str], where: str) -> tuple[str, str]:
    free = {name: values for name, values in columns.items() if name not in text}
    for name in free:
        if name.lower() in LABEL_NAMES:
            return name, "by its name"
    distinct = {name: len(set(values)) for name, values in free.items()}
    few = {name: count for name, count in distinct.items() if 2 <= count <= max(2, len(free[name]) // 3)}
    if not few:
        raise DataError(
            f"{where} has no column that looks like labels; name it with --label (columns: {', '.join(columns)})"
        )
    name = min(few, key=lambda name: few[name])
    return name, f"it has only {few[name]} different values"


def _text_columns(columns: dict[str, list[str]], label: str, where: str) -> tuple[tuple[str, ...], str]:
    lower = {name.lower(): name for name in columns if name != label}
    for pair in PAIR_NAMES:
        if all(name in lower for name in pair):
            return tuple(lower[name] for name in pair), "by their names"
    name, why = _text_column(columns, label, where)
    return (name,), why


def _text_column(columns: dict[str, list[str]], label: str, where: str) -> tuple[str, str]:
    free = {name: values for name, values in columns.items() if name != label and values}
    for name in free:
        if name.lower() in TEXT_NAMES:
            return name, "by its name"
    if not free:
        raise DataError(f"{where} has no column beside '{label}' that could hold texts; name it with --text")
    lengths = {name: float(np.mean([len(value) for value in values])) for name, values in free.items()}
    name = max(lengths, key=lambda name: lengths[name])
    return name, f"its values are the longest, {lengths[name]:.0f} characters on average"


def _count(
    path: Path, where: str, texts: Sequence[str], label: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Distinct usable rows by label, and what was noticed while counting."""
    entry = TaskConfig.model_validate({"path": str(path), "columns": {"text": list(texts), "label": label}})
    table = read_table(entry, where)
    if not 2 <= len(table.values) <= MOST_LABELS:
        raise DataError(
            f"{where}: column '{label}' of {path} has {len(table.values):,} different values, too many for labels; "
            "name another column with --label"
        )
    names = label_names(entry, where, table.values)
    labels = tuple(names.values())
    numbers = number_labels(table, names, labels, where, entry)
    cleaned = clean_labelled(table, numbers)
    counts = np.bincount(cleaned.rows.labels, minlength=len(labels))
    return dict(zip(labels, counts.tolist())), cleaned.notes
