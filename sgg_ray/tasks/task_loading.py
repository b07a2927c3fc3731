"""From the configuration to a target and its sources: read, check, split, never leak."""

from collections import Counter
from collections.abc import Collection
from typing import Literal

import numpy as np

from sgg_ray.config import Config, HeldOutConfig, SourceConfig, TargetConfig, TaskConfig, text_fields
from sgg_ray.errors import DataError
from sgg_ray.tasks.choices import read_choices
from sgg_ray.tasks.completions import clean_pairs, read_pairs, shuffle_completions
from sgg_ray.tasks.labels import (
    LabelOrders,
    clean_labelled,
    in_order,
    label_names,
    label_words,
    number_labels,
)
from sgg_ray.tasks.read import Table, counted, read_table
from sgg_ray.tasks.select import Cleaned, flip, shuffled, stratified
from sgg_ray.tasks.shots import about_test_rows, draw_shots, few_shots
from sgg_ray.tasks.task import ONE_LABEL, Rows, Task
from sgg_ray.tasks.unlabelled import read_unlabelled
from sgg_ray.tasks.values import read_label_sets, read_numbers

VALUED = ("regression", "multi_label", "multiple_choice")  # kinds whose rows have no label of a class
NO_ROWS = Rows((), np.empty(0, dtype=np.int64))


class Reader:
    """Reads and cleans the files of tasks, each once, however often and with whatever seed they are split.

    Args:
        kept: files, by what decides about their rows, of which what was read is kept for later calls; None for all.
    """

    def __init__(self, kept: Collection[str] | None = None):
        self._kept = kept
        self._tables: dict[str, Table] = {}
        self._cleaned: dict[tuple[str, tuple[str, ...]], Cleaned] = {}
        self._valued: dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], Cleaned]] = {}

    def read(self, entry: TaskConfig, key: str, orders: LabelOrders) -> tuple[tuple[str, ...], Cleaned]:
        """Label names, in the order that every task with these labels uses, and the distinct rows.

        A task of kind generation has no labels.
        """
        if entry.kind == "generation":
            return (), self.pairs(entry, key)
        if entry.kind in VALUED:
            return self.valued(entry, key)
        table = self.table(entry, key)
        names = label_names(entry, key, table.values)
        labels = tuple(dict.fromkeys(names.values()))
        if entry.kind == "ordinal":
            labels = in_order(labels, entry, key)
        else:
            labels = orders.setdefault(frozenset(labels), labels)
        place = _origin(entry), labels
        found = self._cleaned.get(place)
        if found is None:
            numbers = number_labels(table, names, labels, key, entry)
            found = _cleaned(entry, key, table, numbers)
        if self._keeps(entry):
            self._cleaned[place] = found
        return labels, found

    def pairs(self, entry: TaskConfig, key: str) -> Cleaned:
        """The distinct rows of a task of kind generation."""
        place = _origin(entry), ()
        if place not in self._cleaned:
            pairs = read_pairs(entry, key)
            self._cleaned[place] = _usable(entry, f"{key}.columns", clean_pairs(pairs))
        return self._cleaned[place]

    def valued(
        self, entry: TaskConfig, key: str, labels: tuple[str, ...] = ()
    ) -> tuple[tuple[str, ...], Cleaned]:
        """Names and distinct rows of a task of kind regression, multi_label or multiple_choice.

        Args:
            labels: the names, where another file has told them.
        """
        place = _origin(entry), labels
        if place not in self._valued:
            if entry.kind == "regression":
                names, rows = read_numbers(entry, key)
            elif entry.kind == "multi_label":
                names, rows = read_label_sets(entry, key, labels)
            else:
                names, rows = read_choices(entry, key, labels)
            self._valued[place] = names, _usable(entry, f"{key}.columns.text", rows)
        return self._valued[place]

    def table(self, entry: TaskConfig, key: str) -> Table:
        """The rows as they are in the file."""
        place = _origin(entry)
        found = self._tables.get(place) or read_table(entry, key)
        if self._keeps(entry):
            self._tables[place] = found
        return found

    def _keeps(self, entry: TaskConfig) -> bool:
        return self._kept is None or _origin(entry) in self._kept


def _origin(entry: TaskConfig) -> str:
    """What decides about a task's rows before they are split."""
    return entry.model_dump_json(include={"path", "kind", "columns", "where", "labels", "split"})


def load_tasks(
    config: Config, reader: Reader | None = None, eval_split: Literal["test", "validation"] = "test"
) -> tuple[Task, list[Task]]:
    """Read and split the target and all sources.

    The target's shots and test rows are drawn from distinct texts; no text of the test rows is left in any
    source. Tasks with the same label names number them alike, in the order of the first of them.

    Args:
        reader: has read files of earlier calls.
        eval_split: ``validation`` puts rows in place of the test rows that are neither test rows nor shots.

    Raises:
        DataError: with one line for each problem of each task.
    """
    if reader is None:  # what one task alone needs is not held while others are read
        origins = Counter(_origin(entry) for entry in (config.target, *config.sources))
        reader = Reader({origin for origin, count in origins.items() if count > 1})
    problems: list[str] = []
    orders: LabelOrders = {}
    target: Task | None = None
    sources: list[Task] = []
    test_keys: set[str] = set()
    try:
        target, test_keys = _target(config.target, config.seed, orders, reader, eval_split)
    except DataError as error:
        problems += error.problems
    for source in config.sources:
        try:
            sources.append(_source(source, config.seed, orders, test_keys, reader))
        except DataError as error:
            problems += error.problems
    if problems or target is None:
        raise DataError(problems)
    return target, sources


def _target(
    entry: TargetConfig, seed: int, orders: LabelOrders, reader: Reader, eval_split: str
) -> tuple[Task, set[str]]:
    """The target, and the keys of all texts held out for testing, those beyond ``limit`` included."""
    labels, pool = reader.read(entry, "target", orders)
    notes = [*_ordered(entry, labels), *pool.notes]
    if entry.test.fraction is not None:
        test, pool = _split_off(pool, entry.test.fraction, seed)
    else:
        test = _own_test(entry, entry.test, labels, reader)
        notes += [f"test: {note}" for note in test.notes]
    test_keys = set(test.keys)
    apart = pool.without(test_keys)
    if len(apart.rows) < len(pool.rows):
        dropped = counted(len(pool.rows) - len(apart.rows), "training row")
        notes.append(f"{dropped} dropped: the same texts are among the test rows")
    if not len(test.rows) and not entry.test.is_none:
        of = "" if entry.test.fraction is None else f" of {counted(len(pool.rows), 'distinct row')}"
        raise DataError(
            f"target.test: no test rows are left{of}; raise "
            "target.test.fraction, give target.test.path, or do without: test: none"
        )
    notes += few_shots(entry, labels, apart.rows, notes)
    chosen = draw_shots(entry, shuffled(apart.keys, seed, "shots"), apart.rows)
    if eval_split == "validation":
        test = apart.take(np.setdiff1d(np.arange(len(apart.rows)), chosen))
        if not len(test.rows):
            raise DataError(
                "compare.eval_split: every row is a shot or a test row; add rows, or eval_split on test rows"
            )
        test_keys |= set(test.keys)
    unlabelled, more = read_unlabelled(entry, test_keys, set(apart.keys[chosen]), seed)
    notes += more
    if entry.max_rows is not None:
        test = test.take(stratified(shuffled(test.keys, seed, "limit"), test.rows.labels, entry.max_rows))
    notes += about_test_rows(entry.kind, labels, test.rows)
    task = Task(
        entry.name,
        labels,
        apart.rows.take(chosen),
        test.rows,
        "target",
        tuple(notes),
        entry.prompt,
        label_words(entry, "target", labels),
        tuple(text_fields(entry)),
        entry.kind,
        unlabelled,
    )
    return task, test_keys


def _ordered(entry: TargetConfig, labels: tuple[str, ...]) -> list[str]:
    """A note if labels that nobody listed are steps of a scale."""
    try:
        values = [float(label) for label in labels]
    except ValueError:
        return []
    if (
        entry.kind != "classification"
        or entry.labels is not None
        or len(values) < 3
        or all(value.is_integer() for value in values)
    ):
        return []
    return [
        f"the labels {', '.join(labels)} are numbers, taken for classes without an order; kind: ordinal or regression "
        "keeps it"
    ]


def _source(entry: SourceConfig, seed: int, orders: LabelOrders, test_keys: set[str], reader: Reader) -> Task:
    key = f"sources.{entry.name}"
    labels, found = reader.read(entry, key, orders)
    notes = list(found.notes)
    chosen = found.without(test_keys)
    if len(chosen.rows) < len(found.rows):
        dropped = counted(len(found.rows) - len(chosen.rows), "row")
        notes.append(f"{dropped} dropped: the same texts are among the target's test rows")
    if not len(chosen.rows):
        raise DataError(f"{key}.path: no usable rows are left in {entry.path} ({'; '.join(notes)})")
    order = shuffled(chosen.keys, seed, "limit")
    chosen = chosen.take(stratified(order, chosen.rows.labels, entry.max_rows or len(order)))
    rows = chosen.rows
    present = np.unique(rows.labels)
    if entry.kind in ONE_LABEL and len(present) == 1:
        notes.append(f"rows of one class only ({labels[int(present[0])]})")
    if entry.flip_labels > 0:
        rows = flip(rows, chosen.keys, entry.flip_labels, len(labels), seed)
        notes.append(f"{entry.flip_labels:.0%} of the labels were made wrong on purpose (flip_labels)")
    if entry.shuffle_completions > 0:
        rows = shuffle_completions(rows, chosen.keys, entry.shuffle_completions, seed)
        share = f"{entry.shuffle_completions:.0%}"
        notes.append(
            f"{share} of the completions were swapped with other rows' on purpose (shuffle_completions)"
        )
    words = label_words(entry, key, labels)
    fields = tuple(text_fields(entry))
    return Task(
        entry.name, labels, rows, NO_ROWS, "source", tuple(notes), entry.prompt, words, fields, entry.kind
    )


def _own_test(entry: TargetConfig, test: HeldOutConfig, labels: tuple[str, ...], reader: Reader) -> Cleaned:
    """Test rows from a file of their own; what ``test`` does not say is as in the target's section."""
    changes = {name: getattr(test, name) for name in ("path", "split", "columns", "where")}
    changes = {name: value for name, value in changes.items() if value is not None}
    own = entry.model_copy(update=changes)
    if not labels:
        return reader.pairs(own, "target.test")
    if entry.kind in VALUED:
        return reader.valued(own, "target.test", labels)[1]
    table = reader.table(own, "target.test")
    names = label_names(own, "target", table.values) if own.labels else {name: name for name in labels}
    return _cleaned(own, "target.test", table, number_labels(table, names, labels, "target.test", own))


def _cleaned(entry: TaskConfig, key: str, table, numbers: np.ndarray) -> Cleaned:
    return _usable(entry, f"{key}.columns.text", clean_labelled(table, numbers))


def _usable(entry: TaskConfig, place: str, rows: Cleaned) -> Cleaned:
    """The rows, or a DataError if there are none."""
    if not len(rows.rows):
        raise DataError(f"{place}: no row of {entry.path} has a usable text ({'; '.join(rows.notes)})")
    return rows


def _split_off(pool: Cleaned, fraction: float, seed: int) -> tuple[Cleaned, Cleaned]:
    """Test rows and the rest: a random share of the distinct texts, classes in proportion."""
    order = shuffled(pool.keys, seed, "test")
    chosen = stratified(order, pool.rows.labels, round(fraction * len(order)))
    rest = np.setdiff1d(np.arange(len(order)), chosen)
    return pool.take(np.sort(chosen)), pool.take(rest)
