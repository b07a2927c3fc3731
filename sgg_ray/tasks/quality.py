"""What tasks have in common that they should not have, and labels that may be one."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sgg_ray.tasks.select import key_marks, text_key
from sgg_ray.tasks.task import Rows, Task, Text

ALIKE = 0.88  # likeness of two spellings from which on one may be a mistake for the other
NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Overlap:
    """Training texts that two tasks have in common, and how many have different labels, of those that both know."""

    first: str
    second: str
    texts: int
    contradicting: int


def overlaps(tasks: Sequence[Task]) -> list[Overlap]:
    """Every pair of tasks with training texts in common, the one with most of them first."""
    known = {task.name: key_marks(map(text_key, task.train.texts)) for task in tasks}
    found = []
    for one, other in combinations(tasks, 2):
        common = _in_both(known[one.name], known[other.name])
        if not common:
            continue
        names = set(one.labels) & set(other.labels)
        pairs = [(_answer(one, row), _answer(other, same)) for row, same in common]
        told = [pair for pair in pairs if one.generates or names.issuperset(pair)]
        found.append(
            Overlap(one.name, other.name, len(common), sum(first != second for first, second in told))
        )
    return sorted(found, key=lambda overlap: -overlap.texts)


def _in_both(marks: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """The last row of each text that two tasks have, in one and in the other.

    Args:
        marks: of the texts of one task [n, 2].
        others: of the other [m, 2].
    """
    rows = np.flatnonzero(np.isin(marks[:, 0], others[:, 0]))
    places = {tuple(marks[row].tolist()): int(row) for row in rows}
    rows = np.flatnonzero(np.isin(others[:, 0], marks[:, 0]))
    found = {tuple(others[row].tolist()): int(row) for row in rows}
    return [(places[own], row) for own, row in found.items() if own in places]


def _answer(task: Task, row: int) -> str:
    return task.train.completions[row] if task.generates else task.labels[int(task.train.labels[row])]


def almost_in(rows: Rows, test: Rows) -> int:
    """How many test texts are training texts but for punctuation; equal ones are never in both."""
    asked = [_words(text) for text in test.texts]
    seen = (set(asked) - {""}).intersection(map(_words, rows.texts))
    return sum(words in seen for words in asked)


def _words(text: Text) -> str:
    return NO_WORD.sub(" ", text_key(text)).strip()


def label_twins(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of labels of which one may be a misspelling of the other."""
    return [pair for pair in combinations(labels, 2) if _may_be_one(*pair)]


def _may_be_one(first: str, second: str) -> bool:
    one, other = _words(first).replace(" ", ""), _words(second).replace(" ", "")
    if one == other:
        return bool(one)
    if one.endswith(other) or other.endswith(one):  # 'relevant', 'irrelevant'
        return False
    if re.sub(r"\D", "", one) != re.sub(r"\D", "", other):  # 'level 1', 'level 2'
        return False
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= ALIKE
