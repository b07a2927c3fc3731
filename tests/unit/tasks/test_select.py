import hashlib
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.tasks.select import clean, first_of_each_class, flip, shuffled, stratified, text_key
from sgg_ray.tasks.task import Rows

TEXTS = st.lists(st.text("aAbB éß\u200b\t", max_size=4), max_size=30)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def labelled(draw):
    texts = draw(TEXTS)
    return texts, np.array(
        draw(st.lists(st.integers(0, 2), min_size=len(texts), max_size=len(texts))), dtype=np.int64
    )


def as_set(cleaned):
    return set(zip(cleaned.rows.texts, cleaned.rows.labels.tolist(), cleaned.keys))


@given(labelled(), st.randoms())
def test_cleaning_gives_the_same_rows_in_any_order_of_the_file(rows, random):
    texts, labels = rows
    order = list(range(len(texts)))
    random.shuffle(order)
    again = clean([texts[position] for position in order], labels[order])
    before = clean(texts, labels)
    assert as_set(again) == as_set(before)
    assert again.notes == before.notes


@given(labelled())
def test_cleaned_texts_are_distinct_not_empty_and_of_one_label(rows):
    texts, labels = rows
    cleaned = clean(texts, labels)
    assert len(set(cleaned.keys)) == len(cleaned.rows)
    assert all(cleaned.keys)
    for text, label, key in zip(cleaned.rows.texts, cleaned.rows.labels, cleaned.keys):
        assert text_key(text) == key
        assert {int(other) for copy, other in zip(texts, labels) if text_key(copy) == key} == {int(label)}


def test_every_dropped_row_is_counted():
    texts = ["", " \t", "same", "Same ", "torn", "TORN", "alone", "x" * 20_001]
    cleaned = clean(texts, np.array([0, 1, 1, 1, 0, 1, 0, 0]))
    assert cleaned.rows.texts == ("Same", "alone", "x" * 20_001)
    assert cleaned.notes == (
        "2 rows with an empty text dropped",
        "1 duplicate row dropped",
        "2 rows of texts with contradictory labels dropped",
        "1 text of over 20,000 characters kept, cut to train.max_length tokens",
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("A  good\tfilm ", "a good film"),
        ("STRASSE", "straße"),
        (unicodedata.normalize("NFD", "café"), unicodedata.normalize("NFC", "café")),
        ("zero\u200bwidth", "zerowidth"),
        ("\ufeffstart", "start"),
        ("no\u00a0break", "no break"),
    ],
)
def test_texts_that_look_the_same_are_the_same(left, right):
    assert text_key(left) == text_key(right)


def test_texts_that_differ_in_a_character_stay_apart():
    assert len({text_key(text) for text in ("good", "good!", "goods", "góod")}) == 4


@given(st.lists(st.text(), unique=True), SEEDS)
def test_an_order_is_a_permutation(keys, seed):
    assert sorted(shuffled(keys, seed, "p").tolist()) == list(range(len(keys)))


@given(st.lists(st.text(), unique=True), st.lists(st.text(), unique=True), SEEDS)
def test_other_rows_do_not_change_how_two_rows_stand(keys, others, seed):
    more = list(dict.fromkeys([*others, *keys]))
    ordered = [more[position] for position in shuffled(more, seed, "p")]
    assert [key for key in ordered if key in set(keys)] == [
        keys[position] for position in shuffled(keys, seed, "p")
    ]


def test_seeds_and_purposes_give_independent_orders():
    keys = [f"text {number}" for number in range(2000)]
    orders = [shuffled(keys, seed, purpose) for seed in (0, 1) for purpose in ("test", "shots")]
    ranks = np.argsort(np.stack(orders), axis=1)
    correlation = np.corrcoef(ranks)
    assert np.abs(correlation - np.eye(4)).max() < 0.1


def test_an_order_is_that_of_a_standard_hash():
    """A change here gives every published number another split."""
    keys = ["a good film", "a bad film", "café", "", "x" * 1000, "\ud83d"]

    def mark(key):
        return hashlib.blake2b(b"0/shots/" + key.encode("utf-8", "surrogatepass"), digest_size=8).digest()

    assert [keys[position] for position in shuffled(keys, 0, "shots")] == sorted(keys, key=mark)
    assert shuffled(keys, 0, "shots").tolist() == [1, 3, 0, 2, 4, 5]


def test_an_order_is_the_same_in_another_process():
    code = (
        "from sgg_ray.tasks.select import shuffled\n"
        "print(shuffled([str(n) for n in range(50)], 3, 'p').tolist())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": salt},
        ).stdout.strip()
        for salt in ("1", "2")
    }
    assert found == {str(shuffled([str(number) for number in range(50)], 3, "p").tolist())}


LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array)


@given(LABELS, st.integers(1, 20), st.integers(0, 20), SEEDS)
def test_fewer_shots_are_part_of_more_shots_and_classes_are_balanced(labels, few, extra, seed):
    order = shuffled([str(number) for number in range(len(labels))], seed, "shots")
    small, large = (first_of_each_class(order, labels, count) for count in (few, few + extra))
    assert set(small) <= set(large)
    counts = np.bincount(labels[small], minlength=4)
    assert (counts == np.minimum(few, np.bincount(labels, minlength=4))).all()


@given(LABELS, st.integers(0, 80), SEEDS)
def test_a_stratified_choice_keeps_the_proportions(labels, count, seed):
    order = shuffled([str(number) for number in range(len(labels))], seed, "limit")
    chosen = stratified(order, labels, count)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, len(labels))
    share = len(chosen) / len(labels)
    wanted = np.bincount(labels, minlength=4) * share
    assert np.abs(np.bincount(labels[chosen], minlength=4) - wanted).max() <= 1.5


@given(LABELS, st.integers(0, 40), st.integers(0, 40), SEEDS)
def test_a_smaller_limit_is_part_of_a_larger_one(labels, few, extra, seed):
    order = shuffled([str(number) for number in range(len(labels))], seed, "limit")
    assert set(stratified(order, labels, few)) <= set(stratified(order, labels, few + extra))


@given(LABELS, st.floats(0, 1), SEEDS, st.integers(4, 6))
def test_flipping_gives_exactly_its_share_the_next_label(labels, share, seed, classes):
    texts = tuple(str(number) for number in range(len(labels)))
    rows = Rows(texts, labels)
    flipped = flip(rows, np.array(texts, dtype=object), share, classes, seed)
    changed = flipped.labels != labels
    assert changed.sum() == round(share * len(labels))
    assert (flipped.labels[changed] == (labels[changed] + 1) % classes).all()
    assert flipped.texts == rows.texts
    assert rows.labels is labels


def test_flipping_two_classes_wholly_swaps_them():
    rows = Rows(("a", "b", "c"), np.array([0, 1, 1]))
    assert flip(rows, np.array(rows.texts, dtype=object), 1.0, 2, 0).labels.tolist() == [1, 0, 0]
