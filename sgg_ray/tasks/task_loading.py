"""From the configuration to a target and its sources: read, check, split, never leak."""

from typing import Literal

import numpy as np

from sgg_ray.config import Config, HeldOutConfig, SourceConfig, TargetConfig, TaskConfig, text_fields
from sgg_ray.errors import DataError
from sgg_ray.tasks.completions import clean_pairs, read_pairs, shuffle_completions
from sgg_ray.tasks.labels import LabelOrders, clean_labelled, label_names, label_words, number_labels
from sgg_ray.tasks.read import Table, counted, read_table
from sgg_ray.tasks.select import Cleaned, first_of_each_class, flip, shuffled, stratified
from sgg_ray.tasks.task import Rows, Task

LEAST_SKEWED = 10  # rows
SKEWED = 0.8  # share of the largest class from which on it is told
NO_ROWS = Rows((), np.empty(0, dtype=np.int64))


class Reader:
    """Reads and cleans the files of tasks, each once, however often and with whatever seed they are split."""

    def __init__(self):
        self._tables: dict[str, Table] = {}
        self._cleaned: dict[tuple[str, tuple[str, ...]], Cleaned] = {}

    def read(self, entry: TaskConfig, key: str, orders: LabelOrders) -> tuple[tuple[str, ...], Cleaned]:
        """Label names, in the order that every task with these labels uses, and the distinct rows.

        A task of kind generation has no labels.
        """
        if entry.kind == "generation":
            return (), self.pairs(entry, key)
        table = self.table(entry, key)
        names = label_names(entry, key, table.values)
        labels = orders.setdefault(frozenset(names.values()), tuple(dict.fromkeys(names.values())))
        place = _origin(entry), labels
        if place not in self._cleaned:
            numbers = number_labels(table, names, labels, key, entry)
            self._cleaned[place] = _cleaned(entry, key, table, numbers)
        return labels, self._cleaned[place]

    def pairs(self, entry: TaskConfig, key: str) -> Cleaned:
        """The distinct rows of a task of kind generation."""
        place = _origin(entry), ()
        if place not in self._cleaned:
            pairs = read_pairs(entry, key)
            self._cleaned[place] = _usable(entry, f"{key}.columns", clean_pairs(pairs))
        return self._cleaned[place]

    def table(self, entry: TaskConfig, key: str) -> Table:
        """The rows as they are in the file."""
        place = _origin(entry)
        if place not in self._tables:
            self._tables[place] = read_table(entry, key)
        return self._tables[place]


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
    reader = reader or Reader()
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
    if not len(test.rows):
        raise DataError(
            "target.test: no test rows are left; raise target.test.fraction or give target.test.path"
        )
    notes += _few_shots(entry, labels, apart.rows, notes)
    count = len(apart.rows) if entry.shots == "all" else entry.shots
    chosen = first_of_each_class(shuffled(apart.keys, seed, "shots"), apart.rows.labels, count)
    if eval_split == "validation":
        test = apart.take(np.setdiff1d(np.arange(len(apart.rows)), chosen))
        if not len(test.rows):
            raise DataError(
                "compare.eval_split: every row is a shot or a test row; add rows, or eval_split on test rows"
            )
        test_keys |= set(test.keys)
    if entry.max_rows is not None:
        test = test.take(stratified(shuffled(test.keys, seed, "limit"), test.rows.labels, entry.max_rows))
    absent = [name for number, name in enumerate(labels) if number not in test.rows.labels]
    if absent:
        notes.append(f"test: no row of class {', '.join(absent)}")
    notes += _skew(labels, test.rows)
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
    )
    return task, test_keys


def _few_shots(entry: TargetConfig, labels: tuple[str, ...], rows: Rows, told: list[str]) -> list[str]:
    """A note about classes that have fewer rows than ``shots``.

    Args:
        told: what reading has reported, for the message.

    Raises:
        DataError: a class has no row at all, or a task without labels too few.
    """
    because = f" ({'; '.join(told)})" if told else ""
    advice = "lower target.shots or target.test.fraction, or add rows"
    if not labels:
        if entry.shots != "all" and len(rows) < entry.shots:
            found = f"{entry.shots} rows are needed beside the test rows, found {len(rows)}{because}"
            raise DataError(f"target.shots: {found}; {advice}")
        return []
    have = np.bincount(rows.labels, minlength=len(labels))
    empty = [name for name, count in zip(labels, have) if not count]
    if empty:
        counts = ", ".join(f"{name} {count}" for name, count in zip(labels, have))
        raise DataError(
            f"target.shots: no row of class {', '.join(empty)} is left beside the test rows, found {counts}{because}; "
            f"{advice}, or leave the class out of target.labels"
        )
    if entry.shots == "all":
        return []
    fewer = [f"{name} {count}" for name, count in zip(labels, have) if count < entry.shots]
    if not fewer:
        return []
    return [f"fewer rows than target.shots {entry.shots}, all of them used: {', '.join(fewer)}"]


def _ordered(entry: TargetConfig, labels: tuple[str, ...]) -> list[str]:
    """A note if labels that nobody listed are steps of a scale."""
    try:
        values = [float(label) for label in labels]
    except ValueError:
        return []
    if entry.labels is not None or len(values) < 3 or all(value.is_integer() for value in values):
        return []
    return [f"the labels {', '.join(labels)} are numbers, taken for classes without an order"]


def _skew(labels: tuple[str, ...], rows: Rows) -> list[str]:
    """A note if one class is so large that accuracy says little."""
    if not labels or len(rows) < LEAST_SKEWED:
        return []
    share = np.bincount(rows.labels, minlength=len(labels)) / len(rows)
    most = labels[int(share.argmax())]
    if share.max() < SKEWED:
        return []
    return [f"{share.max():.0%} of the test rows are '{most}'; always predicting it would score as well"]


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
    if labels and len(present) == 1:
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
    return Task(entry.name, labels, rows, NO_ROWS, "source", tuple(notes), entry.prompt, words, fields)


def _own_test(entry: TargetConfig, test: HeldOutConfig, labels: tuple[str, ...], reader: Reader) -> Cleaned:
    """Test rows from a file of their own; what ``test`` does not say is as in the target's section."""
    changes = {name: getattr(test, name) for name in ("path", "split", "columns", "where")}
    changes = {name: value for name, value in changes.items() if value is not None}
    own = entry.model_copy(update=changes)
    if not labels:
        return reader.pairs(own, "target.test")
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
