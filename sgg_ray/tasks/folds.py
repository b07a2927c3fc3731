"""Parts of the few shots that are held out in turn, so that settings can be chosen without any test row."""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sgg_ray.errors import ConfigError
from sgg_ray.tasks.select import text_key
from sgg_ray.tasks.task import Task, Text

QUARTER = 4
ENOUGH_ROWS = 100  # held-out rows from which on one part is taken to be enough


@dataclass(frozen=True)
class Fold:
    """One division of the target's shots: positions of the rows to train on and of those held out."""

    kept: np.ndarray
    held: np.ndarray

    def of(self, target: Task) -> Task:
        """The target with these rows to train on, and the held-out ones in place of its test rows."""
        return replace(target, train=target.train.take(self.kept), test=target.train.take(self.held))


def cross_validation_folds(target: Task, folds: int, seed: int) -> list[Fold]:
    """Parts of the shots, each held out once, whatever the sizes of the classes.

    A class of fewer rows than parts has rows in some of them only; the row of a class that has no other is never held
    out. So every training sees every class.

    Args:
        target: its training rows are cut.
        folds: how many parts, fewer if no class has as many rows.
        seed: of the cut.

    Returns:
        No part where no class has two rows.
    """
    from sklearn.model_selection import StratifiedKFold

    labels = target.train.labels
    counts = np.bincount(labels, minlength=target.strata)
    parts = min(folds, int(counts.max(initial=0)))
    if parts < 2:
        return []
    usable = np.flatnonzero(counts[labels] > 1)
    alone = np.flatnonzero(counts[labels] == 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer rows than there are parts
        splits = list(StratifiedKFold(parts, shuffle=True, random_state=seed).split(usable, labels[usable]))
    return [Fold(np.union1d(usable[kept], alone), usable[held]) for kept, held in splits if len(held)]


def without_texts(sources: Sequence[Task], texts: Collection[Text]) -> list[Task]:
    """The sources without rows of these texts, and without those that have no others."""
    keys = {text_key(text) for text in texts}
    found = []
    for source in sources:
        kept = [row for row, text in enumerate(source.train.texts) if text_key(text) not in keys]
        if len(kept) == len(source.train):
            found.append(source)
        elif kept:
            found.append(replace(source, train=source.train.take(kept)))
    return found


def hold_out(target: Task, folds: int | None, seed: int) -> list[Fold]:
    """Cut the target's shots into parts with the classes in equal shares.

    Args:
        target: its training rows are cut, its test rows are not looked at.
        folds: how many parts, each held out once; 1 holds out one quarter; None chooses between 4 and 1.
        seed: of the cut.

    Raises:
        ConfigError: fewer shots of a class than parts.
    """
    from sklearn.model_selection import StratifiedKFold

    shots = int(np.bincount(target.train.labels, minlength=target.strata).min())
    if folds is None:
        folds = 1 if len(target.train) // QUARTER >= ENOUGH_ROWS else min(QUARTER, shots)
    parts = min(QUARTER, shots) if folds == 1 else folds
    if not 2 <= parts <= shots:
        raise ConfigError(
            f"tune.folds: {max(parts, 2)} parts cannot each hold a row of every class with target.shots {shots}; "
            + (f"use at most {shots} folds, or more shots" if shots > 1 else "use more shots")
        )
    splits = StratifiedKFold(parts, shuffle=True, random_state=seed).split(
        np.zeros(len(target.train)), target.train.labels
    )
    return [Fold(kept, held) for kept, held in list(splits)[:folds]]
