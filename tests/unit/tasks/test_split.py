"""The split of a target: repeatable, balanced, disjoint, nested."""

import os
import random
import time
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reviews import keys, pairs, reviews

from sgg_ray.tasks import load_tasks

FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


def test_a_target_has_its_shots_and_a_test_split_with_sound_labels(configure):
    target, sources = load_tasks(configure())
    assert (target.name, target.role, target.labels, sources) == (
        "target",
        "target",
        ("negative", "positive"),
        [],
    )
    assert np.bincount(target.train.labels).tolist() == [4, 4]
    assert np.bincount(target.test.labels).tolist() == [4, 4]
    assert pairs(target, target.train) | pairs(target, target.test) <= set(reviews(40))
    assert target.head == "negative|positive"
    assert target.train.labels.dtype == np.int64


@FILES
@given(seed=st.integers(0, 2**32 - 1), shots=st.integers(1, 6), random=st.randoms(use_true_random=False))
def test_the_split_is_the_same_in_any_order_of_the_file(configure, write, seed, shots, random):
    rows = [*reviews(30), *reviews(30, "Row  ")]  # copies that differ in case and spacing
    options = {"seed": seed, "shots": shots, "test": {"fraction": 0.4}}
    before, (source,) = load_tasks(
        configure([{"name": "s", "path": write("s.csv", rows), "max_rows": 11}], **options)
    )
    random.shuffle(rows)
    after, (again,) = load_tasks(
        configure([{"name": "s", "path": write("s.csv", rows), "max_rows": 11}], **options)
    )
    assert pairs(before, before.train) == pairs(after, after.train)
    assert pairs(before, before.test) == pairs(after, after.test)
    assert (source.train.texts, source.train.labels.tolist()) == (
        again.train.texts,
        again.train.labels.tolist(),
    )


@FILES
@given(
    seed=st.integers(0, 2**32 - 1),
    shots=st.integers(1, 5),
    fraction=st.floats(0.05, 0.6),
    classes=st.integers(2, 4),
)
def test_parts_are_disjoint_and_shots_balanced(configure, write, seed, shots, fraction, classes):
    names = [f"class {number}" for number in range(classes)]
    path = write("t.csv", reviews(20 * classes, labels=names))
    shared = write("s.csv", [*reviews(20 * classes, labels=names), *reviews(8, "own", labels=names)])
    config = configure(
        [{"name": "s", "path": shared}], seed=seed, path=path, shots=shots, test={"fraction": fraction}
    )
    target, (source,) = load_tasks(config)
    assert not keys(target.train) & keys(target.test)
    assert not keys(source.train) & keys(target.test)
    assert np.bincount(target.train.labels, minlength=classes).tolist() == [shots] * classes
    assert len(target.test) == round(fraction * 20 * classes)
    assert len(source.train) == 20 * classes + 8 - len(target.test)
    assert any(note.startswith(f"{len(target.test)} row") for note in source.notes)


@FILES
@given(seed=st.integers(0, 2**32 - 1), few=st.integers(1, 8), extra=st.integers(0, 8))
def test_few_shots_are_part_of_more_shots_and_the_test_rows_stay(configure, write, seed, few, extra):
    path = write("t.csv", reviews(60))
    small, large = (
        load_tasks(configure(seed=seed, path=path, shots=shots))[0] for shots in (few, few + extra)
    )
    assert pairs(small, small.train) <= pairs(large, large.train)
    assert small.test.texts == large.test.texts


def test_seeds_give_different_shots_and_test_rows(configure, write):
    path = write("t.csv", reviews(200))
    targets = [load_tasks(configure(seed=seed, path=path, shots=16))[0] for seed in range(4)]
    assert len({target.train.texts for target in targets}) == 4
    assert len({frozenset(target.test.texts) for target in targets}) == 4
    seen = set().union(*(target.train.texts for target in targets))
    assert len(seen) > 2.5 * 32  # nearly independent draws


def test_the_split_is_written_in_stone(configure, write):
    """A change here gives every published number another split."""
    target, (source,) = load_tasks(
        configure(
            [{"name": "s", "path": write("s.csv", reviews(9, "other")), "max_rows": 3}], seed=7, shots=2
        )
    )
    assert (target.train.texts, source.train.texts) == FROZEN


FROZEN = (("row 36", "row 18", "row 23", "row 7"), ("other 4", "other 3", "other 0"))


def test_many_rows_are_read_in_seconds(configure, tmp_path):
    """Work grows with the number of rows, also where a test file and a training file overlap."""
    number = 60_000
    lines = [f"some words of text number {n},{'negative' if n % 2 else 'positive'}\n" for n in range(number)]
    random.Random(0).shuffle(lines)
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("text,label\n" + "".join(lines))
    test.write_text("text,label\n" + "".join(lines[: number // 2]))
    start = time.process_time()
    target, _ = load_tasks(configure(path=str(train), test={"path": str(test)}))
    assert time.process_time() - start < 10
    assert len(target.test) == number // 2


def test_rows_are_taken_by_position_in_the_given_order(configure):
    target, _ = load_tasks(configure())
    rows = target.train.take([3, 0])
    assert rows.texts == (target.train.texts[3], target.train.texts[0])
    assert len(target.train.take([])) == 0


def test_reading_leaves_nothing_behind(configure, write, tmp_path):
    config = configure([{"name": "s", "path": write("s.csv", reviews(4, "s"))}])
    before = sorted(os.listdir(tmp_path))
    load_tasks(config)
    assert sorted(os.listdir(tmp_path)) == before
    assert all(Path(tmp_path, name).stat().st_size for name in before)


def test_without_test_rows_every_row_may_be_a_shot(configure, write):
    path = write("t.csv", reviews(30))
    target, (source,) = load_tasks(
        configure([{"name": "s", "path": path}], path=path, shots="all", test="none", labels=None)
    )
    assert (len(target.train), len(target.test), len(source.train)) == (30, 0, 30)
    assert not any("no row of class" in note for note in target.notes)


def test_without_test_rows_shots_are_those_with_the_same_order(configure, write):
    path = write("t.csv", reviews(40))
    none, _ = load_tasks(configure(path=path, shots=4, test="none"))
    zero, _ = load_tasks(configure(path=path, shots=4, test={"fraction": 0}))
    assert none.train.texts == zero.train.texts
    assert np.bincount(none.train.labels).tolist() == [4, 4]
