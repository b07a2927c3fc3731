"""What a task is once it has been read: rows with label numbers, and the names of the labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from sgg_ray.config import TEXT, Kind
from sgg_ray.tasks.stored_texts import LARGE, StoredTexts

ONE_LABEL: tuple[Kind, ...] = ("classification", "ordinal")  # kinds whose rows have one label each
COMPLETIONS = ""  # in place of a label set: what tasks share whose rows have completions
Text = str | tuple[str, ...]  # one text, or the fields of a row that is made of several
History = tuple[tuple[str, str], ...]  # (role, content) of each message


def parts_of(text: Text) -> tuple[str, ...]:
    """The fields of a text, one or several."""
    return (text,) if isinstance(text, str) else text


def in_one(text: Text) -> str:
    """A text's fields below each other, for people and for what looks at words alone."""
    return "\n".join(parts_of(text))


@dataclass(frozen=True)
class Rows:
    """Texts and what belongs to them, side by side: label numbers [n], or completions.

    Attributes:
        texts: a tuple, or of many rows a view of a file.
        values: [n, W] of kind regression one number, of kind multi_label 1 for each label that a row has and else 0;
            the labels are then all 0. None for other kinds.
        completions: what is to be said after each text; the labels are then all 0. None for rows with labels.
        choices: of kind multiple_choice, some rows may have fewer than others; the labels say which is right.
        histories: messages of a conversation before each text; none of them if no row has any.
        weights: how often each row is drawn in training, relative to the others [n]; None for all alike.
    """

    texts: Sequence[Text]
    labels: np.ndarray
    completions: tuple[str, ...] = ()
    histories: tuple[History, ...] = ()
    values: np.ndarray | None = None
    weights: np.ndarray | None = None
    choices: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Rows":
        """The rows at these positions, in this order."""
        positions = np.asarray(indices, dtype=np.int64)
        if isinstance(self.texts, StoredTexts) and len(positions) >= LARGE:
            texts: Sequence[Text] = self.texts[positions]
        else:
            texts = tuple(self.texts[int(position)] for position in positions)
        return Rows(
            texts,
            self.labels[positions],
            tuple(self.completions[position] for position in positions) if self.completions else (),
            tuple(self.histories[position] for position in positions) if self.histories else (),
            None if self.values is None else self.values[positions],
            None if self.weights is None else self.weights[positions],
            tuple(self.choices[position] for position in positions) if self.choices else (),
        )

    def weighted(self, weights: np.ndarray) -> "Rows":
        """The rows whose weight is above 0, to be drawn by their weights [n]."""
        kept = np.flatnonzero(weights > 0)
        alike = np.ptp(weights[kept]) == 0.0
        return replace(self.take(kept), weights=None if alike else weights[kept])

    def history(self, row: int) -> History:
        """The messages before a row's text."""
        return self.histories[row] if self.histories else ()


def all_labelled(rows: Rows) -> bool:
    """Of kind multi_label: whether every row has a label."""
    return rows.values is not None and bool(len(rows)) and bool((rows.values.sum(axis=1) > 0).all())


@dataclass(frozen=True)
class Task:
    """A task, ready for training: rows are clean, split and numbered."""

    name: str
    labels: tuple[str, ...]  # names; a row's label is a position in here; none if rows have completions
    train: Rows  # the target's few shots; all rows of a source
    test: Rows  # empty for sources
    role: Literal["target", "source"]
    notes: tuple[str, ...] = ()  # what was dropped or repaired, for people
    prompt: str | None = None  # language models: how a text is put; None = the default one
    words: tuple[str, ...] | None = None  # language models: what to say for each label; None = its name
    fields: tuple[str, ...] = (TEXT,)  # what the parts of a text are called in a prompt
    kind: Kind = "classification"  # of tasks without labels generation, whatever stands here
    unlabelled: tuple[Text, ...] = ()  # the target's further texts, neither shots nor test rows

    @property
    def place(self) -> str:
        """Key of the task in the YAML file, for messages: ``target`` or ``sources.NAME``."""
        return "target" if self.role == "target" else f"sources.{self.name}"

    @property
    def generates(self) -> bool:
        """Whether rows have completions (``kind: generation``) in place of labels."""
        return not self.labels

    @property
    def head(self) -> str:
        """Key of the label set: tasks with the same label names share one head, and so do all with completions.

        Tasks of other kinds share one with tasks of their own kind: regression where the columns have one name.
        """
        if not self.labels:
            return COMPLETIONS
        return joined(self.labels) if self.kind == "classification" else f"|{self.kind}|{joined(self.labels)}"

    @property
    def values_only(self) -> bool:
        """Whether rows have numbers or sets of labels, and neither one label each nor completions."""
        return self.kind in ("regression", "multi_label")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a model is given of a row: its fields, and of kind multiple_choice the choices."""
        more = tuple(f"choice {label}" for label in self.labels) if self.kind == "multiple_choice" else ()
        return (*self.fields, *more)

    @property
    def strata(self) -> int:
        """How many groups of labels the rows are drawn from evenly: the classes, or one where rows have no single
        label."""
        return len(self.labels) if self.labels and self.kind in ONE_LABEL else 1


def sharing_labels(target: Task, sources: Sequence[Task]) -> list[Task]:
    """Sources cut to the labels that they have in common with the target, in the target's order.

    Where gradients are compared, tasks meet at their common labels (docs/method.md); this lets them meet there in
    training too. A source with fewer than two common labels stays as it is.
    """
    same = "classification"
    return [
        _cut_to(target.labels, source) if target.kind == source.kind == same else source for source in sources
    ]


def kind_of(head: str) -> Kind:
    """Kind of the tasks with this head, see :attr:`Task.head`."""
    if head == COMPLETIONS:
        return "generation"
    # Names of labels have no bar that is not escaped: they cannot be taken for a kind.
    return cast(Kind, head.split("|")[1]) if head.startswith("|") else "classification"


def _cut_to(labels: Sequence[str], source: Task) -> Task:
    common = tuple(label for label in labels if label in source.labels)
    if len(common) < 2 or set(common) == set(source.labels):
        return source
    numbers = np.array([common.index(label) if label in common else -1 for label in source.labels])
    found = numbers[source.train.labels]
    kept = np.flatnonzero(found >= 0)
    rows = replace(source.train.take(kept), labels=found[kept])
    words = (
        None if source.words is None else tuple(source.words[source.labels.index(label)] for label in common)
    )
    return replace(source, labels=common, train=rows, words=words)


def joined(labels: Sequence[str]) -> str:
    """Label names in one text, a different one for each list of names, those that hold a bar included."""
    return "|".join(label.replace("\\", "\\\\").replace("|", "\\|") for label in labels)
