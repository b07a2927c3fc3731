"""Rows of ``kind: multiple_choice``: a text, choices of its own, and which of them is right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sgg_ray.config import TaskConfig, as_list, label_name, text_fields
from sgg_ray.errors import DataError
from sgg_ray.tasks.read import counted, joined_texts, read_columns
from sgg_ray.tasks.select import Cleaned, clean, is_blank
from sgg_ray.tasks.task import parts_of

LETTERS = "ABCDEFGHIJ"
SHOWN = 40  # characters of a value in a message


def read_choices(
    entry: TaskConfig, key: str, labels: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], Cleaned]:
    """The distinct rows of a task, and what the label column says for each choice, in the order of the choices.

    Args:
        entry: names columns for text and label, and as many columns as there are choices, or one with lists.
        key: the section's place in the YAML, for messages.
        labels: what the label column says, where another file has told it.

    Raises:
        DataError: rows have different numbers of choices, or labels that are none of them.
    """
    wanted = as_list(entry.columns.choices)
    fields = list(dict.fromkeys(text_fields(entry).values()))
    where = f"{key}.columns.label"
    named = [*((f"{key}.columns.text", name) for name in fields)]
    named += [(f"{key}.columns.choices", name) for name in wanted]
    frame, notes = read_columns(entry, key, [*named, (where, entry.columns.label)])
    texts, _ = joined_texts([frame[name] for name in fields], f"{key}.columns.text", entry.path)
    choices = [choices_in(values) for values in zip(*(frame[name] for name in wanted))]
    said = [_said(value) for value in frame[entry.columns.label]]
    kept = [
        row for row, own in enumerate(choices) if said[row] and len(own) > 1 and not any(map(is_blank, own))
    ]
    if len(kept) < len(choices):
        dropped = counted(len(choices) - len(kept), "row")
        notes.append(f"{dropped} without a label, or with an empty choice, dropped")
    count = _one_number([len(choices[row]) for row in kept], entry, key)
    values = labels or _values([said[row] for row in kept], count, entry, key)
    unknown = sorted({said[row] for row in kept} - set(values))
    if unknown:
        raise DataError(
            f"{where}: column '{entry.columns.label}' of {entry.path} holds '{unknown[0][:SHOWN]}', which is none of "
            f"{', '.join(values)}; list in {key}.labels what it says for each choice, the first one first"
        )
    numbers = np.array([values.index(said[row]) for row in kept], dtype=np.int64)
    cleaned = clean([(*parts_of(texts[row]), *choices[row]) for row in kept], numbers)
    parts = [parts_of(text) for text in cleaned.rows.texts]
    rows = replace(
        cleaned.rows,
        texts=tuple(own[0] if len(fields) == 1 else own[:-count] for own in parts),
        choices=tuple(own[-count:] for own in parts),
    )
    return values, replace(cleaned, rows=rows, notes=(*notes, *cleaned.notes))


def choices_in(values: Sequence[Any]) -> tuple[str, ...]:
    """The choices of a row: a value of each of several columns, or a list in one."""
    if len(values) == 1 and isinstance(values[0], list | tuple | np.ndarray):
        values = list(values[0])
    return tuple("" if value is None or value != value else str(value) for value in values)


def _said(value: Any) -> str:
    return "" if value is None or value != value else label_name(value)


def _one_number(counts: Sequence[int], entry: TaskConfig, key: str) -> int:
    found = Counter(counts)
    if len(found) != 1:
        told = ", ".join(f"{number} ({counted(rows, 'row')})" for number, rows in sorted(found.items()))
        raise DataError(
            f"{key}.columns.choices: every row needs as many choices, {entry.path} has rows with {told or 'none'}; "
            "leave the others out with where"
        )
    return counts[0]


def _values(found: Sequence[str], count: int, entry: TaskConfig, key: str) -> tuple[str, ...]:
    """What the label column says for each choice: as configured, or numbers from 0 or 1 on, letters, or columns."""
    if entry.labels is not None:
        names = tuple(map(label_name, entry.labels))
        if len(names) != count:
            raise DataError(
                f"{key}.labels: must name {count} values, one for each choice, found {len(names)}"
            )
        return names
    numbers = tuple(map(str, range(count + 1)))
    letters = tuple(LETTERS[:count])
    small = tuple(LETTERS[:count].lower())
    columns = tuple(as_list(entry.columns.choices))  # data sets on a hub name them so
    for values in (numbers[:-1], numbers[1:], letters, small, columns):
        if set(found) <= set(values):
            return values
    return numbers[:-1]
