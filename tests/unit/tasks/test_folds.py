"""Held-out parts of the shots: every shot once, never a test row, classes in equal shares."""

import numpy as np
import pytest

from sgg_ray.errors import ConfigError
from sgg_ray.tasks import Rows, Task, hold_out


def target(shots, classes=2):
    labels = np.repeat(np.arange(classes), shots)
    train = Rows(tuple(f"shot {number}" for number in range(len(labels))), labels)
    test = Rows(("test row",), np.array([0]))
    return Task("target", tuple("abc"[:classes]), train, test, "target")


@pytest.mark.parametrize(("shots", "folds", "parts"), [(8, 4, 4), (9, 3, 3), (3, None, 3), (16, None, 4)])
def test_every_shot_is_held_out_once(shots, folds, parts):
    task = target(shots)
    found = hold_out(task, folds, seed=0)
    assert len(found) == parts
    assert sorted(np.concatenate([fold.held for fold in found])) == list(range(2 * shots))
    for fold in found:
        assert not set(fold.kept) & set(fold.held)
        assert len(fold.kept) + len(fold.held) == 2 * shots
        of_fold = fold.of(task)
        assert np.ptp(np.bincount(of_fold.test.labels, minlength=2)) <= 1
        assert not set(of_fold.test.texts) & set(of_fold.train.texts)
        assert "test row" not in of_fold.test.texts


def test_one_part_is_enough_where_there_are_many_shots():
    (fold,) = hold_out(target(400), None, seed=0)
    assert len(fold.held) == 200
    (quarter,) = hold_out(target(8), 1, seed=0)
    assert len(quarter.held) == 4


def test_the_cut_depends_on_the_seed_alone():
    first, again, other = (hold_out(target(16), 4, seed)[0].held.tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(("shots", "folds"), [(4, 5), (1, None), (1, 1), (1, 2)])
def test_too_few_shots_are_an_error(shots, folds):
    with pytest.raises(ConfigError, match=r"^tune\.folds: .* target\.shots"):
        hold_out(target(shots), folds, seed=0)
