"""The rows of all tasks in one look, beside the model that reads them: what is there, and what may spoil a result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgg_ray.config import Config, Kind, TaskConfig
from sgg_ray.models.text_fit import TextFit, fit_texts
from sgg_ray.tasks import (
    Overlap,
    Reader,
    Rows,
    Task,
    almost_in,
    label_twins,
    load_tasks,
    overlaps,
)

MOST_PAIRS = 5  # of tasks or labels that are named in one warning


@dataclass(frozen=True)
class TaskLook:
    """One task.

    Attributes:
        classes: distinct usable rows of each label in the task's file; none of kinds generation and regression.
        rows: distinct usable rows in the task's file.
        train: rows for training: the target's shots.
        test: rows for testing.
        notes: what was dropped, repaired or guessed.
    """

    name: str
    role: str
    classes: dict[str, int]
    rows: int
    train: int
    test: int
    fit: TextFit
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        language = self.fit.language
        return {
            "name": self.name,
            "role": self.role,
            "rows": self.rows,
            "classes": self.classes,
            "train": self.train,
            "test": self.test,
            "tokens": dict(zip(("median", "p95", "max"), self.fit.tokens)),
            "cut": self.fit.cut,
            "tokens_per_word": self.fit.pieces,
            "unknown_tokens": self.fit.unknown,
            "language": language.code if language else None,
            "language_share": language.share if language else None,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class DataLook:
    """All tasks, what they share, and all warnings."""

    tasks: tuple[TaskLook, ...]
    overlaps: tuple[Overlap, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        shared = [
            {"tasks": [one.first, one.second], "texts": one.texts, "contradicting": one.contradicting}
            for one in self.overlaps
        ]
        return {
            "tasks": [task.to_dict() for task in self.tasks],
            "overlaps": shared,
            "warnings": list(self.warnings),
        }


def look_at_data(config: Config) -> DataLook:
    """Read all tasks, and measure how the model suits them; no weights are loaded, nothing is started.

    Raises:
        DataError, ModelError: with every problem found.
    """
    reader = Reader()
    target, sources = load_tasks(config, reader)
    tasks = [target, *sources]
    fits = fit_texts(config, tasks)
    entries: list[tuple[TaskConfig, Task]] = [(config.target, target), *zip(config.sources, sources)]
    found = [_look(entry, task, fits[task.name], reader) for entry, task in entries]
    return DataLook(tuple(found), tuple(overlaps(tasks)), _warnings(tasks, fits))


def data_warnings(config: Config, tasks: Sequence[Task]) -> tuple[str, ...]:
    """What may spoil a result, a line each, without what reading the tasks has noted already.

    Args:
        config: names model and longest text.
        tasks: the target first.

    Raises:
        ModelError: there is no such model or no tokenizer.
    """
    return _warnings(tasks, fit_texts(config, tasks))


def _look(entry: TaskConfig, task: Task, fit: TextFit, reader: Reader) -> TaskLook:
    labels, cleaned = reader.read(entry, task.place, {})
    return TaskLook(
        task.name,
        task.role,
        _classes(task.kind, labels, cleaned.rows),
        len(cleaned.rows),
        len(task.train),
        len(task.test),
        fit,
        task.notes,
    )


def _classes(kind: Kind, labels: Sequence[str], rows: Rows) -> dict[str, int]:
    """How many rows have each label."""
    if kind == "regression":
        return {}
    if rows.values is not None:
        return dict(zip(labels, rows.values.sum(axis=0).astype(int).tolist()))
    return dict(zip(labels, np.bincount(rows.labels, minlength=len(labels)).tolist()))


def _warnings(tasks: Sequence[Task], fits: dict[str, TextFit]) -> tuple[str, ...]:
    target, *sources = tasks
    found = [f"{task.name}: {line}" for task in tasks for line in fits[task.name].warnings]
    found += _languages(target, sources, fits)
    for task in tasks:
        twins = [f"'{one}' and '{other}'" for one, other in label_twins(task.labels)]
        if twins:
            found.append(
                f"{task.name}: may be one label, spelled in two ways: {', '.join(twins[:MOST_PAIRS])}"
            )
        almost = almost_in(task.train, target.test)
        if almost:
            rows = "training rows" if task is target else "its rows"
            found.append(f"{task.name}: {almost:,} of the target's test texts are {rows} but for punctuation")
    return (*found, *_contradictions(tasks))


def _languages(target: Task, sources: Sequence[Task], fits: dict[str, TextFit]) -> list[str]:
    own = fits[target.name].language
    found = []
    for source in sources:
        other = fits[source.name].language
        if own and other and own.code != other.code:
            found.append(f"{source.name}: the texts are in {other.name}, the target's in {own.name}")
    return found


def _contradictions(tasks: Sequence[Task]) -> list[str]:
    return [
        f"{one.first} and {one.second}: {one.contradicting:,} of {one.texts:,} texts in both have different labels"
        for one in overlaps(tasks)
        if one.contradicting
    ]
