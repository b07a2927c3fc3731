"""From values in a file to label names and numbers, the same in every task that shares the names."""

import numpy as np

from sgg_ray.config import TaskConfig, as_list, label_name
from sgg_ray.errors import DataError
from sgg_ray.tasks.read import Table, counted

LabelOrders = dict[frozenset[str], tuple[str, ...]]  # the first task's order, by set of names
MOST_LABELS = 100  # of a task that does not list them


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
    if len(found) > MOST_LABELS:
        raise DataError(
            f"{key}.columns.label: column '{column}' of {entry.path} has {len(found):,} different "
            f"values, which are no labels; name another column, or list the names in {key}.labels"
        )
    if len(found) < 2:
        held = f"only '{found[0]}'" if found else "nothing"
        raise DataError(
            f"{key}.labels: column '{column}' of {entry.path} holds {held}, at least two labels are "
            "needed; list the names, or name another column"
        )
    alike: dict[str, list[str]] = {}
    for value in found:
        alike.setdefault(value.casefold(), []).append(value)
    twins = {name: values for name, values in alike.items() if len(values) > 1}
    if twins:
        pairs = ", ".join(f"{name}: [{', '.join(alike[name])}]" for name in alike)
        held = " and ".join(f"'{value}'" for value in next(iter(twins.values())))
        raise DataError(
            f"{key}.labels: column '{column}' of {entry.path} holds {held}, which differ in case alone; say what is "
            f"one label: {{{pairs}}}"
        )
    return {value: value for value in found}


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
            f"{key}.verbalizers: {', '.join(wrong)}; give one word for each of {', '.join(labels)}"
        )
    return tuple(words[label] for label in labels)


def number_labels(
    table: Table, names: dict[str, str], labels: tuple[str, ...], key: str, entry: TaskConfig
) -> np.ndarray:
    """Label number [n] of each row: the position of its name in ``labels``.

    Raises:
        DataError: rows carry values that are no label; with how many and which.
    """
    counts = np.bincount(table.labels, minlength=len(table.values))
    unknown = [number for number, value in enumerate(table.values) if value not in names]
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
    number = np.array([labels.index(names[value]) for value in table.values], dtype=np.int64)
    return number[table.labels]
