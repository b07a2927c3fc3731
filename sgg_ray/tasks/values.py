"""Rows whose target is a number (kind regression) or any number of labels (kind multi_label)."""

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sgg_ray.config import TaskConfig, as_list, label_name, listed_labels, text_fields
from sgg_ray.errors import DataError
from sgg_ray.tasks.gaps import UNCLEAR, as_values, is_gap
from sgg_ray.tasks.labels import MOST_LABELS, several_labels
from sgg_ray.tasks.read import counted, joined_texts, read_columns
from sgg_ray.tasks.select import Cleaned, clean, text_key
from sgg_ray.tasks.task import Text

SEPARATORS = "|;,"  # between labels in one text, the first of them that a column has
YES, NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})
SHOWN = 40  # characters of a value in a message
DECIMAL_COMMA = re.compile(r"[-+]?\d+(,\d+)?")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")


def read_numbers(entry: TaskConfig, key: str) -> tuple[tuple[str, ...], Cleaned]:
    """The distinct rows of a task of kind regression, and the name of what is measured: that of its column.

    Equal texts with different numbers become one row with their mean, which is noted.

    Raises:
        DataError: a value is no number, or no row has one.
    """
    column = entry.columns.label
    where = f"{key}.columns.label"
    texts, (raw,), notes = _read(entry, key, [(where, column)])
    raw, told = with_points(raw)
    notes += [f"column '{column}': {line}" for line in told]
    numbers = np.array([_number(value, f"{where}: column '{column}' of {entry.path}") for value in raw])
    known = np.isfinite(numbers)
    if not known.any():
        raise DataError(f"{where}: no row of {entry.path} has a value in column '{column}'")
    if not known.all():
        notes.append(f"{counted(int((~known).sum()), 'row')} without a value dropped")
    kept = np.flatnonzero(known)
    chosen = [texts[int(row)] for row in kept]
    cleaned = clean(chosen, np.zeros(len(kept), dtype=np.int64))
    of_key: dict[str, list[float]] = {}
    for text, value in zip(chosen, numbers[kept]):
        of_key.setdefault(text_key(text), []).append(float(value))
    values = np.array([[float(np.mean(of_key[name]))] for name in cleaned.keys], dtype=np.float64)
    several = sum(len(set(of_key[name])) > 1 for name in cleaned.keys)
    if several:
        notes.append(f"{counted(several, 'text')} with different values: the mean is taken")
    return (column,), _with_values(cleaned, values, notes)


def read_label_sets(
    entry: TaskConfig, key: str, labels: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], Cleaned]:
    """The distinct rows of a task of kind multi_label, and its label names.

    Args:
        entry: names a column of lists, or of texts such as ``a|b``, or a column of 0 and 1 for each label.
        key: the section's place in the YAML, for messages.
        labels: the names, where another file has told them; else those configured, or found.

    Raises:
        DataError: a value cannot be read, or is none of the labels.
    """
    if entry.columns.labels is not None:
        texts, names, marks, notes = _from_columns(entry, key, entry.columns.labels)
    else:
        texts, names, marks, notes = _from_lists(entry, key, labels)
    known = np.flatnonzero(marks[:, 0] >= 0)
    if not len(known):
        raise DataError(f"{key}.columns: no row of {entry.path} has labels")
    if len(known) < len(marks):
        dropped = counted(len(marks) - len(known), "row")
        notes.append(f"{dropped} without labels dropped; write [] for a row that has none of them")
    marks = marks[known].astype(np.int64)
    _, sets = np.unique(marks, axis=0, return_inverse=True)
    cleaned = clean([texts[int(row)] for row in known], sets.reshape(-1))
    of_set = {int(number): marks[row] for row, number in enumerate(sets.reshape(-1))}
    values = np.array([of_set[int(number)] for number in cleaned.rows.labels], dtype=np.float64)
    return names, _with_values(cleaned, values.reshape(-1, len(names)), notes)


def _with_values(cleaned: Cleaned, values: np.ndarray, notes: list[str]) -> Cleaned:
    rows = replace(cleaned.rows, labels=np.zeros(len(cleaned.rows), dtype=np.int64), values=values)
    return replace(cleaned, rows=rows, notes=(*notes, *cleaned.notes))


def _read(
    entry: TaskConfig, key: str, named: Sequence[tuple[str, str]]
) -> tuple[list[Text], list[list[Any]], list[str]]:
    """Texts [n], the raw values [n] of each named column, and the notes of reading."""
    columns = list(dict.fromkeys(text_fields(entry).values()))
    place = f"{key}.columns.text" if set(columns) <= {*as_list(entry.columns.text)} else f"{key}.prompt"
    frame, notes = read_columns(entry, key, [*((place, column) for column in columns), *named])
    texts, repaired = joined_texts([frame[column] for column in columns], place, entry.path)
    if repaired:
        notes.append(f"{counted(repaired, 'text')} with broken characters repaired")
    return texts, [frame[name].tolist() for _, name in named], notes


def with_points(values: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Numbers with decimal commas (3,5) with points instead, and a line about it; others as they are (1,200)."""
    texts = [value.strip() for value in values if isinstance(value, str) and not _is_no_number(value)]
    commas = [text for text in texts if "," in text]
    if not commas or not all(map(DECIMAL_COMMA.fullmatch, texts)) or all(map(THOUSANDS.fullmatch, commas)):
        return list(values), []
    found = [value.replace(",", ".") if isinstance(value, str) else value for value in values]
    return found, ["numbers are read with decimal commas"]


def _is_no_number(value: Any) -> bool:
    """Whether a value says that there is none."""
    return is_gap(value) or str(value).strip() in UNCLEAR


def _number(value: Any, where: str) -> float:
    """NaN where there is none.

    Raises:
        DataError: it is something else than a finite number.
    """
    if _is_no_number(value):
        return math.nan
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{where} holds '{str(value)[:SHOWN]}', which is no number; kind: regression needs numbers such as 3.5 or "
            "1200"
        )
    return number


def _from_columns(
    entry: TaskConfig, key: str, names: Sequence[str]
) -> tuple[list[Text], tuple[str, ...], np.ndarray, list[str]]:
    """Read labels from a column of 0 and 1 for each.

    Returns:
        Texts [n], labels [C], whether each row has each label [n, C] (−1 in rows where one is missing), notes.
    """
    where = f"{key}.columns.labels"
    if len(names) < 2:
        raise DataError(f"{where}: at least two labels are needed, found {', '.join(names) or 'none'}")
    texts, columns, notes = _read(entry, key, [(where, name) for name in names])
    marks = np.zeros((len(texts), len(names)))
    for place, (name, values) in enumerate(zip(names, columns)):
        for row, value in enumerate(values):
            said = "" if is_gap(value) else label_name(value).lower()
            if said and said not in YES | NO:
                raise DataError(
                    f"{where}: column '{name}' of {entry.path} holds '{said[:SHOWN]}'; a column for each label has "
                    "0 and 1 (or no and yes, false and true)"
                )
            marks[row, place] = -1.0 if not said else float(said in YES)
    marks[(marks < 0).any(axis=1)] = -1.0
    return texts, tuple(names), marks, notes


def _from_lists(
    entry: TaskConfig, key: str, known: tuple[str, ...]
) -> tuple[list[Text], tuple[str, ...], np.ndarray, list[str]]:
    """One column with lists, or texts that join labels."""
    where, column = f"{key}.columns.label", entry.columns.label
    texts, (raw,), notes = _read(entry, key, [(where, column)])
    separator = _separator(raw)
    if separator:
        notes.append(f"column '{column}': labels are separated by '{separator}'")
    sets = [_split_labels(value, separator) for value in raw]
    found = sorted({name for own in sets if own is not None for name in own})
    if "O" in found and any(name.startswith("B-") for name in found):
        raise DataError(
            f"{where}: column '{column}' of {entry.path} holds labels of single tokens (B-, I-, O), which are not "
            "supported; a row has labels as a whole"
        )
    if not entry.labels:
        _refuse_joined(raw, found, f"{where}: column '{column}' of {entry.path}")
    by_value = _configured(entry) or {name: name for name in known or found}
    unknown = [name for name in found if name not in by_value]
    if unknown:
        raise DataError(
            f"{key}.labels: column '{column}' of {entry.path} holds {', '.join(map(repr, unknown[:5]))}, which is none "
            f"of {listed_labels(by_value)}; add them to labels"
        )
    names = known or tuple(dict.fromkeys(by_value.values()))
    if not 2 <= len(names) <= MOST_LABELS and not (known or entry.labels):
        raise DataError(
            f"{where}: column '{column}' of {entry.path} has {len(names):,} different labels, 2 to {MOST_LABELS} are "
            f"expected; name another column, or list the names in {key}.labels"
        )
    marks = np.zeros((len(texts), len(names)))
    for row, own in enumerate(sets):
        if own is None:
            marks[row] = -1.0
            continue
        for name in own:
            marks[row, names.index(by_value[name])] = 1.0
    return texts, names, marks, notes


def _refuse_joined(raw: Sequence[Any], found: Sequence[str], where: str) -> None:
    """Raise a DataError where a value is no label but several of them, or an object."""
    if any(isinstance(one, dict) for value in raw for one in [value, *(as_values(value) or [])]):
        raise DataError(f"{where} holds objects; write lists of labels, or texts such as a|b")
    joined = several_labels(tuple(found))
    if joined:
        raise DataError(
            f"{where} holds '{joined}', which is several labels; separate labels by the same character in all rows, "
            "or list the labels in labels"
        )


def _configured(entry: TaskConfig) -> dict[str, str]:
    """Label name by value in the file, as configured; empty where nothing is."""
    if isinstance(entry.labels, dict):
        return {
            label_name(value): label_name(name)
            for name, values in entry.labels.items()
            for value in as_list(values)
        }
    return {name: name for name in map(label_name, entry.labels or ())}


def _separator(values: Sequence[Any]) -> str:
    """What stands between labels in the column's texts; "" if it holds lists, or one label a text."""
    texts = [value for value in values if isinstance(value, str) and not value.strip().startswith("[")]
    return next((mark for mark in SEPARATORS if any(mark in text for text in texts)), "")


def joined_set(labels: Sequence[str]) -> str:
    """Labels in one text, which :func:`labels_in` reads: ``a|b``, or as JSON where there is none, or a bar in one."""
    if labels and not any("|" in label or label.startswith("[") for label in labels):
        return "|".join(labels)
    return json.dumps(list(labels), ensure_ascii=False)


def labels_in(value: Any, known: Collection[str]) -> set[str] | None:
    """Labels of a list, of its JSON, or of a text that joins labels which are known; None where nothing is told."""
    if isinstance(value, str) and label_name(value) not in known:
        for separator in SEPARATORS:
            found = _split_labels(value, separator)
            if found is not None and found <= set(known):
                return found
    return _split_labels(value, "")


def marked_labels(names: Sequence[str], values: Sequence[Any]) -> set[str] | None:
    """The names whose value says yes; None where a value says neither yes nor no."""
    said = ["" if is_gap(value) else label_name(value).lower() for value in values]
    if not all(one in YES | NO for one in said):
        return None
    return {name for name, one in zip(names, said) if one in YES}


def _split_labels(value: Any, separator: str) -> set[str] | None:
    """Labels of a list, of its JSON, or of a text that joins them; None where nothing is told."""
    if isinstance(value, str) and value.strip().startswith("["):  # or as NumPy and people write it
        parts = [part.strip().strip("'\"") for part in value.strip().strip("[]").split(",")]
        value = as_values(value) or parts
    values = as_values(value)
    if values is not None:
        return {name for name in map(label_name, values) if name}
    if is_gap(value):
        return None
    parts = value.split(separator) if isinstance(value, str) and separator else [value]
    return {name for name in map(label_name, parts) if name}
