"""From values in a file to label names and numbers, the same in every task that shares the names."""

import re
from dataclasses import replace

import numpy as np

from sgg_ray.config import TaskConfig, as_list, label_name, listed_labels
from sgg_ray.errors import DataError
from sgg_ray.tasks.read import Table, counted
from sgg_ray.tasks.select import Cleaned, clean, text_key

LabelOrders = dict[frozenset[str], tuple[str, ...]]  # the first task's order, by set of names
MOST_LABELS = 100  # of a task that does not list them
NO_LABEL = "-1"
LIST = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)


def label_names(entry: TaskConfig, key: str, found: tuple[str, ...]) -> dict[str, str]:
    """Label name by value in the file, as configured or else as found.

    Raises:
        DataError: no labels are configured, and the column does not look like one with labels.
    """
    if isinstance(entry.labels, dict):
        return {
            label_name(value): label_name(name)
            for name, values in entry.labels.items()
            for value in as_list(values)
        }
    if entry.labels is not None:
        return {name: name for name in map(label_name, entry.labels)}
    column = entry.columns.label
    found = told_labels(found)
    if len(found) > MOST_LABELS:
        raise DataError(
            f"{key}.columns.label: column '{column}' of {entry.path} has {len(found):,} different "
            f"values, too many for labels; name another column, or list the names in {key}.labels"
        )
    if len(found) < 2:
        held = f"only '{found[0]}'" if found else "nothing"
        raise DataError(
            f"{key}.labels: column '{column}' of {entry.path} holds {held}, at least two labels are "
            "needed; list the names, or name another column"
        )
    alike: dict[str, list[str]] = {}
    for value in found:
        alike.setdefault(text_key(value), []).append(value)
    twins = {name: values for name, values in alike.items() if len(values) > 1}
    if twins:
        pairs = ", ".join(f"{name}: [{', '.join(alike[name])}]" for name in alike)
        held = " and ".join(f"'{value}'" for value in next(iter(twins.values())))
        raise DataError(
            f"{key}.labels: column '{column}' of {entry.path} holds {held}, which {_difference(twins)}; say what is "
            f"one label: {{{pairs}}}"
        )
    several = several_labels(found)
    if several:
        raise DataError(
            f"{key}.columns.label: column '{column}' of {entry.path} holds several labels in one value ('{several}'), "
            "a row has one; add kind: multi_label, or list the values in labels if each is a label of its own"
        )
    return {value: value for value in found}


def in_order(labels: tuple[str, ...], entry: TaskConfig, key: str) -> tuple[str, ...]:
    """Labels of a task of kind ordinal from the lowest to the highest: as listed, or numbers by their size.

    Raises:
        DataError: they are not listed, and no numbers.
    """
    if entry.labels is not None:
        return labels
    try:
        return tuple(sorted(labels, key=lambda name: float(name.replace(",", "."))))
    except ValueError:
        raise DataError(
            f"{key}.labels: kind ordinal needs the order of {listed_labels(labels)}; list them from the lowest to the "
            "highest"
        ) from None


def _difference(twins: dict[str, list[str]]) -> str:
    first = next(iter(twins.values()))
    return "differ in case alone" if len({value.casefold() for value in first}) == 1 else "look alike"


def told_labels(values: tuple[str, ...]) -> tuple[str, ...]:
    """Values without -1, if the others are 0, 1, ...: data sets give that number to rows whose label is not told."""
    others = tuple(value for value in values if value != NO_LABEL)
    numbered = len(others) >= 2 and set(others) == {str(number) for number in range(len(others))}
    return others if numbered else values


def several_labels(values: tuple[str, ...]) -> str | None:
    """A value that is a list of labels: one in brackets, or of parts that are labels of other rows; None without."""
    whole = set(values)
    for value in values:
        if LIST.fullmatch(value):
            return value
        for mark in "|;,":
            parts = [part.strip() for part in value.split(mark)]
            if len(parts) > 1 and all(part in whole for part in parts):
                return value
    return None


def label_words(entry: TaskConfig, key: str, labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """The configured word of each label, in the order of ``labels``; None if none are configured.

    Raises:
        DataError: a label has no word, or a word no label.
    """
    words = entry.verbalizers
    if words is None:
        return None
    wrong = [f"no word for {label}" for label in labels if label not in words]
    wrong += [f"'{name}' is no label" for name in words if name not in labels]
    if wrong:
        raise DataError(
            f"{key}.verbalizers: {', '.join(wrong)}; give one word for each of {listed_labels(labels)}"
        )
    return tuple(words[label] for label in labels)


def number_labels(
    table: Table, names: dict[str, str], labels: tuple[str, ...], key: str, entry: TaskConfig
) -> np.ndarray:
    """Label number [n] of each row: the position of its name in ``labels``; -1 where the file says that it is not told.

    Raises:
        DataError: rows carry values that are no label; with how many and which.
    """
    counts = np.bincount(table.labels, minlength=len(table.values))
    unknown = [number for number, value in enumerate(table.values) if value not in names]
    if [table.values[number] for number in unknown] == [NO_LABEL] and all(map(str.isdecimal, names)):
        unknown = [] if len(table.values) > 1 else unknown
    if unknown:
        unknown.sort(key=lambda number: -counts[number])
        shown = ", ".join(
            f"'{table.values[number][:40]}' ({counted(int(counts[number]), 'row')})" for number in unknown[:5]
        )
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        advice = "add them to labels, or leave their rows out with where"
        if len(unknown) == len(table.values) > 0:
            pairs = ", ".join(f"{name}: ..." for name in labels)
            advice = f"write labels as 'name: value in the file': {{{pairs}}}"
        raise DataError(
            f"{key}.labels: column '{entry.columns.label}' of {entry.path} holds {shown}{more}, which is "
            f"none of {', '.join(names)}; {advice}"
        )
    number = np.array(
        [labels.index(names[value]) if value in names else -1 for value in table.values], dtype=np.int64
    )
    return number[table.labels]


def clean_labelled(table: Table, numbers: np.ndarray) -> Cleaned:
    """The distinct rows of a table whose labels are told, with the notes of reading and cleaning.

    Args:
        numbers: label numbers [n], -1 where the label is not told.
    """
    told = np.flatnonzero(numbers >= 0)
    notes, texts = table.notes, table.texts
    if len(told) < len(numbers):
        hidden = counted(len(numbers) - len(told), "row")
        notes = (
            *notes,
            f"{hidden} labelled -1, which means 'no label', dropped; list -1 in labels if it is one",
        )
        texts, numbers = [texts[int(row)] for row in told], numbers[told]
    cleaned = clean(texts, numbers)
    return replace(cleaned, notes=(*notes, *cleaned.notes))
