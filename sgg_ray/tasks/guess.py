"""Guess from a file alone which columns hold texts and labels, and how its rows can be split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgg_ray.config import Kind, TaskConfig, label_name
from sgg_ray.errors import DataError
from sgg_ray.tasks.gaps import is_gap
from sgg_ray.tasks.labels import (
    MOST_LABELS,
    clean_labelled,
    in_order,
    label_names,
    number_labels,
    several_labels,
)
from sgg_ray.tasks.read import no_column, read_table
from sgg_ray.tasks.stream import RowStream, open_stream
from sgg_ray.tasks.values import read_label_sets, read_numbers, with_points

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
    "stars",
    "score",
)
LISTS = (list, tuple, np.ndarray)
OF_LISTS = "a text's own choices are kind: multiple_choice with columns.choices"
SCALES = ("rating", "stars", "score", "grade")  # names of columns whose numbers have an order
LOOKED_AT = 1000  # rows
MOST_SHOTS, MOST_NUMBERS = 16, 64  # of each class, and of kind regression in total
MOST_LEVELS = 10  # different numbers that are taken for levels, and not for any number
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
    labels: dict[str, int]  # distinct usable rows of each label; none of kind regression
    assumed: tuple[str, ...]  # for people: what was taken for what, and why
    rows: int  # distinct usable ones
    kind: Kind = "classification"

    @property
    def fraction(self) -> float:
        """Share of the rows for testing."""
        return LARGE_SHARE if self.rows < FEW_ROWS else SMALL_SHARE

    @property
    def shots(self) -> int:
        """Examples of each class beside the test rows, up to the default; smaller classes give all they have.

        Of kind regression examples in total.
        """
        if self.kind == "regression":
            return max(2, min(MOST_NUMBERS, self.rows - math.ceil(self.fraction * self.rows) - 1))
        most = max(self.labels.values())
        return max(1, min(MOST_SHOTS, most - math.ceil(self.fraction * most) - 1))


def guess_task(
    path: Path,
    where: str,
    text: Sequence[str] = (),
    label: str | None = None,
    kind: Kind | None = None,
    like: Guess | None = None,
) -> Guess:
    """Look at a file.

    Args:
        path: a file as a task may have it.
        where: the option that named it, for messages.
        text: the columns with the texts, if they are known.
        label: the column with the labels, if it is known.
        kind: of the task, if it is known.
        like: another file, whose columns are meant if this one has them, too.

    Raises:
        DataError: the file cannot be read, a named column is not there, or nothing looks like texts and labels.
    """
    stream = _opened(path, where, text, label)
    names = stream.schema.names
    why = "as told"
    if like is not None and {*like.text, like.label} <= set(names):
        text, label, why = like.text, like.label, "as in --from"
    sample = next(stream.batches(LOOKED_AT)).to_pandas().astype(object)
    columns = {name: [str(value) for value in sample[name] if value is not None] for name in names}
    lists = [name for name in names if name != label and any(isinstance(v, LISTS) for v in sample[name])]
    label, why_label = (label, why) if label else _label_column(columns, text, f"{where}: {path}")
    readable = {name: values for name, values in columns.items() if name not in lists}
    texts, why_text = (tuple(text), why) if text else _text_columns(readable, label, f"{where}: {path}")
    told = (kind, "as told") if kind else _kind(label, [value for value in sample[label] if _is_there(value)])
    entry = TaskConfig.model_validate(
        {"path": str(path), "kind": told[0], "columns": {"text": list(texts), "label": label}}
    )
    counts, rows, notes = _count(entry, where, path)
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
            f"column '{label}' holds the {'numbers' if told[0] == 'regression' else 'labels'} ({why_label})",
            *([] if told[0] == "classification" else [f"kind: {told[0]} ({told[1]})"]),
            *(f"column '{name}' holds lists and is not read; {OF_LISTS}" for name in lists if name != label),
            *notes,
        ),
        rows,
        told[0],
    )


def _opened(path: Path, where: str, text: Sequence[str], label: str | None) -> RowStream:
    """The file, which has rows and the columns that are known."""
    stream = open_stream(path, where, text)
    names = stream.schema.names
    if not stream.rows:
        raise DataError(f"{where}: {path} has no rows; give a file with rows")
    problems = [
        no_column(option, name, str(path), names)
        for option, name in (*(("--text", name) for name in text), ("--label", label))
        if name is not None and name not in names
    ]
    if problems:
        raise DataError(problems)
    return stream


def guess_source(path: Path, where: str, target: Guess) -> Guess:
    """Look at the file of a source, first at the columns that the target has.

    A column of the target's name is taken for the target's kind of numbers.

    Raises:
        DataError: as :func:`guess_task`.
    """
    found = guess_task(path, where, like=target)
    if found.label == target.label and {found.kind, target.kind} == {"ordinal", "regression"}:
        return guess_task(path, where, kind=target.kind)
    return found


def _is_there(value: Any) -> bool:
    return value is not None and value == value if isinstance(value, float) else value is not None


def _kind(column: str, values: Sequence[Any]) -> tuple[Kind, str]:
    """Kind of a task from its values, and why; classification where nothing speaks for another one."""
    if any(isinstance(value, LISTS) for value in values):
        return "multi_label", "the values are lists"
    values, _ = with_points([value for value in values if not is_gap(value)])
    names = tuple(dict.fromkeys(map(label_name, values)))
    joined = several_labels(names)
    if joined:
        return "multi_label", f"'{joined}' joins several labels"
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return "classification", ""
    whole = all(number.is_integer() for number in numbers)
    if len(names) > MOST_LABELS or (not whole and len(names) > MOST_LEVELS):
        return "regression", "many different numbers"
    if len(names) > 2 and (not whole or column.lower() in SCALES):
        return "ordinal", "numbers have an order"
    return "classification", ""


def _label_column(columns: dict[str, list[str]], text: Sequence[str], where: str) -> tuple[str, str]:
    free = {name: values for name, values in columns.items() if name not in text}
    for name in free:
        if name.lower() in LABEL_NAMES:
            return name, "by its name"
    distinct = {name: len(set(values)) for name, values in free.items()}
    few = {name: count for name, count in distinct.items() if 2 <= count <= max(2, len(free[name]) // 3)}
    if not few:
        raise DataError(
            f"{where} has no column that looks like labels; {_remedy(where, 'it')} (columns: {', '.join(columns)})"
        )
    name = min(few, key=lambda name: few[name])
    return name, f"it has only {few[name]} different values"


def _remedy(where: str, which: str) -> str:
    """What to do about a column of labels: --label is about the target's."""
    if where.startswith("--from"):
        return f"name {which} with --label"
    return "leave the file out, or add it to sources in the written file"


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


def _count(entry: TaskConfig, where: str, path: Path) -> tuple[dict[str, int], int, tuple[str, ...]]:
    """Distinct usable rows of each label, and in all, and what was noticed while counting."""
    if entry.kind == "regression":
        _, cleaned = read_numbers(entry, where)
        return {}, len(cleaned.rows), cleaned.notes
    if entry.kind == "multi_label":
        labels, cleaned = read_label_sets(entry, where)
        assert cleaned.rows.values is not None
        counts = cleaned.rows.values.sum(axis=0).astype(int)
        return dict(zip(labels, counts.tolist())), len(cleaned.rows), cleaned.notes
    table = read_table(entry, where)
    if not 2 <= len(table.values) <= MOST_LABELS:
        found = f"{len(table.values):,} different values, too many for labels"
        if len(table.values) < 2:
            found = f"only '{', '.join(table.values)}', and at least two labels are needed"
        what = f"column '{entry.columns.label}' of {path} has {found}"
        raise DataError(f"{where}: {what}; {_remedy(where, 'another column')}")
    names = label_names(entry, where, table.values)
    labels = tuple(names.values())
    if entry.kind == "ordinal":
        try:
            labels = in_order(labels, entry, where)
        except DataError:
            raise DataError(
                f"--kind: ordinal needs an order, and {', '.join(map(repr, labels))} of column "
                f"'{entry.columns.label}' are no numbers; leave out --kind, then write kind: ordinal into the file "
                "and put its labels in order, the lowest first"
            ) from None
    numbers = number_labels(table, names, labels, where, entry)
    cleaned = clean_labelled(table, numbers)
    counts = np.bincount(cleaned.rows.labels, minlength=len(labels))
    return dict(zip(labels, counts.tolist())), len(cleaned.rows), cleaned.notes
