"""Held-out parts of the shots: every shot once, never a test row, classes in equal shares."""

import numpy as np
import pytest

from sgg_ray.errors import ConfigError
from sgg_ray.tasks import Rows, Task, cross_validation_folds, hold_out, without_texts


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


def unequal(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = Rows(tuple(f"shot {number}" for number in range(len(labels))), labels)
    return Task("target", tuple("abcd"[: len(counts)]), rows, Rows((), np.empty(0, dtype=np.int64)), "target")


@pytest.mark.parametrize("counts", [(8, 8), (30, 3), (20, 2, 1), (7, 1)])
def test_cross_validation_takes_classes_of_any_size(counts):
    task = unequal(*counts)
    found = cross_validation_folds(task, 5, seed=0)
    assert len(found) == 5
    held = np.concatenate([fold.held for fold in found])
    alone = [row for row, label in enumerate(task.train.labels) if counts[label] == 1]
    assert sorted([*held, *alone]) == list(
        range(sum(counts))
    )  # once each, but for rows that stand for their class
    for fold in found:
        assert not set(fold.kept) & set(fold.held)
        assert len(fold.kept) + len(fold.held) == sum(counts)
        assert set(task.train.labels[fold.kept]) == set(range(len(counts)))


def test_cross_validation_is_the_stratified_cut_where_classes_are_large_enough():
    task = target(8)
    for one, other in zip(cross_validation_folds(task, 4, seed=3), hold_out(task, 4, seed=3), strict=True):
        assert (one.kept.tolist(), one.held.tolist()) == (other.kept.tolist(), other.held.tolist())


def test_no_class_with_two_rows_means_no_parts():
    assert cross_validation_folds(unequal(1, 1, 1), 5, seed=0) == []
    assert len(cross_validation_folds(unequal(3, 1), 5, seed=0)) == 3


def test_no_held_out_text_is_left_in_a_source():
    source = unequal(3, 3)
    texts = (" SHOT  1", "shot 4", "another")
    (kept,) = without_texts([source], texts)
    assert kept.train.texts == ("shot 0", "shot 2", "shot 3", "shot 5")
    assert kept.train.labels.tolist() == [0, 0, 1, 1]
    assert without_texts([source], ["another"]) == [source]
    assert without_texts([source], source.train.texts) == []
