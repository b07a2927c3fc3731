"""Batches are functions of (seed, step): every row its turn, every source its share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.models import TokenisedRows
from sgg_ray.training.sampling import by_length, shard, source_batch, target_batch

seeds = st.integers(0, 2**32 - 1)


@given(rows=st.integers(1, 60), size=st.integers(1, 20), seed=seeds, epochs=st.integers(1, 3))
def test_every_row_comes_once_an_epoch(rows, size, seed, epochs):
    steps = -(-rows * epochs // size)
    batches = [target_batch(rows, size, step, seed) for step in range(steps)]
    assert all(len(batch) == min(size, rows) for batch in batches)
    drawn = np.concatenate(batches)
    if rows <= size:
        assert all((batch == np.arange(rows)).all() for batch in batches)
    for epoch in range(epochs if rows > size else 0):
        assert sorted(drawn[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_epochs_and_seeds_are_shuffled_differently():
    def epoch(seed, number):
        return tuple(np.concatenate([target_batch(20, 5, 4 * number + step, seed) for step in range(4)]))

    assert len({epoch(0, 0), epoch(0, 1), epoch(1, 0), tuple(range(20))}) == 4


@pytest.mark.parametrize("counts", [(90, 10), (40, 40, 10), (17, 3)])
def test_batches_of_unequal_classes_hold_them_in_their_proportions(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows, size = len(labels), 10
    steps = rows // size  # of an epoch
    first, second = (
        [target_batch(rows, size, number * steps + step, 0, labels) for step in range(steps)]
        for number in (0, 1)
    )
    assert sorted(np.concatenate(first)) == list(range(rows))
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()
    for batch in (*first, *second):
        found = np.bincount(labels[batch], minlength=len(counts))
        assert (np.abs(found - size * np.array(counts) / rows) <= 1).all()


def test_batches_of_equal_classes_are_the_shuffle():
    labels = np.repeat([0, 1], 15)
    for step in range(6):
        np.testing.assert_array_equal(target_batch(30, 10, step, 7, labels), target_batch(30, 10, step, 7))


@st.composite
def mixtures(draw):
    """Row numbers and weights that add up to 1, some of them 0."""
    parts = draw(st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any))
    names = [f"s{number}" for number in range(len(parts))]
    rows = dict(zip(names, draw(st.lists(st.integers(1, 40), min_size=len(parts), max_size=len(parts)))))
    return rows, {name: part / sum(parts) for name, part in zip(names, parts)}


@given(mixtures(), st.integers(1, 40), st.integers(0, 1000), seeds)
def test_every_source_gets_its_share_rounded_up_or_down(mixture, size, step, seed):
    rows, weights = mixture
    pairs = source_batch(rows, weights, size, step, seed)
    assert len(pairs) == size
    for name, weight in weights.items():
        drawn = [row for source, row in pairs if source == name]
        assert np.floor(size * weight - 1e-9) <= len(drawn) <= np.ceil(size * weight + 1e-9)
        assert all(0 <= row < rows[name] for row in drawn)
        assert len(set(drawn)) == len(drawn) or len(drawn) > rows[name]  # no row twice unless it must be
        assert weight > 0 or not drawn


def test_rows_within_a_source_are_drawn_by_their_weights():
    own = np.array([1.0, 0.25, 0.5, 1.0])
    counts = np.zeros(4)
    for step in range(3000):
        pairs = source_batch({"a": 4, "b": 4}, {"a": 0.25, "b": 0.75}, 4, step, 3, {"a": own})
        counts[[row for name, row in pairs if name == "a"]] += 1
        assert pairs == source_batch({"a": 4, "b": 4}, {"a": 0.25, "b": 0.75}, 4, step, 3, {"a": own})
    np.testing.assert_allclose(counts / counts.sum(), own / own.sum(), atol=0.03)


def test_the_draw_is_unbiased():
    """Mean share over many steps against the weights: three standard errors of a systematic draw are below 0.01."""
    rows, weights, size, steps = {"a": 50, "b": 50, "c": 50}, {"a": 0.55, "b": 0.33, "c": 0.12}, 7, 4000
    counts = dict.fromkeys(rows, 0)
    per_row = np.zeros(50)
    for step in range(steps):
        for name, row in source_batch(rows, weights, size, step, seed=3):
            counts[name] += 1
            per_row[row] += name == "a"
    for name, weight in weights.items():
        assert counts[name] / (steps * size) == pytest.approx(weight, abs=0.01)
    expected = steps * size * weights["a"] / 50
    assert abs(per_row - expected).max() < 5 * expected**0.5


def test_nothing_is_drawn_without_weights():
    assert source_batch({"a": 3}, {"a": 0.0}, 4, 0, 0) == []
    assert source_batch({"a": 3}, {}, 4, 0, 0) == []
    assert source_batch({}, {}, 4, 0, 0) == []


@given(mixtures(), st.integers(0, 50), seeds)
def test_a_batch_depends_on_step_and_seed_alone(mixture, step, seed):
    rows, weights = mixture
    source_batch(rows, weights, 8, step + 1, seed)  # what was drawn before does not matter
    first = source_batch(rows, weights, 8, step, seed)
    assert first == source_batch(rows, weights, 8, step, seed)


@given(st.lists(st.integers(), max_size=30), st.integers(1, 8))
def test_shards_are_the_whole_batch(items, workers):
    shards = [shard(items, rank, workers) for rank in range(workers)]
    assert sorted(item for part in shards for item in part) == sorted(items)
    sizes = [len(part) for part in shards]
    assert max(sizes) - min(sizes) <= 1


def test_micro_batches_of_completions_have_rows_of_similar_length():
    def rows(head, lengths):
        ids = tuple(np.zeros(length, dtype=np.int32) for length in lengths)
        return TokenisedRows(head, ids, np.zeros(len(ids), dtype=np.int64))

    said, labelled = rows("", (9, 2, 5)), rows("a|b", (7, 1))
    mixed = [(said, 0), (labelled, 0), (said, 1), (labelled, 1), (said, 2)]
    assert [pair[0].length(pair[1]) for pair in by_length(mixed)] == [1, 2, 5, 7, 9]
    alone = [(labelled, 0), (labelled, 1)]
    assert by_length(alone) == alone
