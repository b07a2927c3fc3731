"""Rows of ``kind: multiple_choice``: a text, choices of its own, and which of them is right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sgg_ray.config import TaskConfig, as_list, label_name, text_fields
from sgg_ray.errors import DataError
from sgg_ray.tasks.gaps import as_values
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
        DataError: labels are none of their rows' choices, or rows have more choices than there are labels.
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
        notes.append(f"{dropped} without a label, with an empty choice or with less than two, dropped")
    if not any(len(own) > 1 for own in choices):
        raise DataError(
            f"{key}.columns.choices: no row of {entry.path} has two choices or more in {', '.join(wanted)}; name a "
            "column for each choice, or one with lists"
        )
    rows = [_Row(row + 1, said[row], len(choices[row])) for row in kept]
    values = labels or _values(rows, entry, key)
    _check_rows(rows, values, entry, key)
    numbers = np.array([values.index(said[row]) for row in kept], dtype=np.int64)
    cleaned = clean([(*parts_of(texts[row]), *choices[row]) for row in kept], numbers)
    parts = [parts_of(text) for text in cleaned.rows.texts]
    first = len(fields)
    found = replace(
        cleaned.rows,
        texts=tuple(own[0] if first == 1 else own[:first] for own in parts),
        choices=tuple(own[first:] for own in parts),
    )
    return values, replace(cleaned, rows=found, notes=(*notes, *cleaned.notes))


def choices_in(values: Sequence[Any]) -> tuple[str, ...]:
    """The choices of a row: a value of each of several columns, or a list in one, or an object with the list ``text``.

    Empty columns behind the last choice are no choices: the row has fewer than others.
    """
    if len(values) == 1:
        one = values[0].get("text") if isinstance(values[0], dict) else values[0]
        listed = as_values(one)
        if listed is not None:
            return tuple(map(_text, listed))
    return without_empty_end(tuple(map(_text, values)))


def without_empty_end(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Choices up to the last one that is not blank."""
    last = max((place for place, choice in enumerate(choices) if not is_blank(choice)), default=-1)
    return choices[: last + 1]


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _said(value: Any) -> str:
    return "" if value is None or value != value else label_name(value)


@dataclass(frozen=True)
class _Row:
    """What a row of the file says.

    Attributes:
        number: from 1 on.
        said: in its label column.
        choices: how many it has.
    """

    number: int
    said: str
    choices: int


def _check_rows(rows: Sequence[_Row], values: tuple[str, ...], entry: TaskConfig, key: str) -> None:
    """See whether each row's label is one of its own choices.

    Raises:
        DataError: naming the first row whose label is not.
    """
    column = f"{key}.columns.label: column '{entry.columns.label}' of {entry.path}"
    for row in rows:
        if row.choices > len(values):
            raise DataError(
                f"{key}.columns.choices: row {row.number} of {entry.path} has {row.choices} choices, more than the "
                f"labels {', '.join(values)}; list in target.labels what the label column says for each choice"
            )
        if row.said not in values:
            raise DataError(
                f"{column} holds '{row.said[:SHOWN]}' in row {row.number}, which is none of {', '.join(values)}; list "
                f"in {key}.labels what it says for each choice, the first one first"
            )
        if values.index(row.said) >= row.choices:
            raise DataError(
                f"{column} holds '{row.said}' in row {row.number}, which has {row.choices} choices, "
                f"{', '.join(values[: row.choices])}; mend the row, or leave it out with where"
            )


def _values(rows: Sequence[_Row], entry: TaskConfig, key: str) -> tuple[str, ...]:
    """What the label column says for each choice: as configured, or numbers from 0 or 1 on, letters, or columns.

    Of two that fit, such as numbers from 0 on and from 1 on, the first one whose labels are all choices of their rows.
    """
    count = max((row.choices for row in rows), default=2)
    if entry.labels is not None:
        names = tuple(map(label_name, entry.labels))
        if len(names) < count:
            raise DataError(
                f"{key}.labels: must name {count} values, one for each choice, found {len(names)}"
            )
        return names
    numbers = tuple(map(str, range(count + 1)))
    letters = tuple(LETTERS[:count])
    small = tuple(LETTERS[:count].lower())
    columns = tuple(as_list(entry.columns.choices))  # data sets on a hub name them so
    known = (numbers[:-1], numbers[1:], letters, small, columns)
    told = [values for values in known if all(row.said in values for row in rows)]
    fits = [values for values in told if all(values.index(row.said) < row.choices for row in rows)]
    return next(iter([*fits, *told, numbers[:-1]]))
