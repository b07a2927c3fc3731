"""Parts of the few shots that are held out in turn, so that settings can be chosen without any test row."""

from dataclasses import dataclass, replace

import numpy as np

from sgg_ray.errors import ConfigError
from sgg_ray.tasks.task import Task

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
