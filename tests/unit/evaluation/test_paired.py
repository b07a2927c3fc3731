import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from sgg_ray.evaluation import compare_paired


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_difference_is_that_of_the_accuracies(seed, rows):
    random = np.random.default_rng(seed)
    predictions, baseline, labels = random.integers(0, 3, (3, rows))
    found = compare_paired(predictions, baseline, labels)
    assert found.difference == pytest.approx((predictions == labels).mean() - (baseline == labels).mean())
    assert -1.0 <= found.low <= found.high <= 1.0
    assert 0.0 < found.p_value <= 1.0


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_exchanging_the_two_changes_the_sign(seed):
    predictions, baseline, labels = np.random.default_rng(seed).integers(0, 2, (3, 40))
    found, mirrored = (
        compare_paired(predictions, baseline, labels),
        compare_paired(baseline, predictions, labels),
    )
    assert mirrored.difference == -found.difference
    assert mirrored.p_value == pytest.approx(found.p_value)
    assert (mirrored.gained, mirrored.lost) == (found.lost, found.gained)
    np.testing.assert_allclose([-mirrored.high, -mirrored.low], [found.low, found.high], atol=0.03)


def test_equal_predictions_do_not_differ():
    predictions, labels = np.random.default_rng(0).integers(0, 2, (2, 50))
    found = compare_paired(predictions, predictions, labels)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_p_value_is_the_exact_binomial_one():
    labels = np.zeros(20, dtype=int)
    baseline = np.array([1] * 9 + [0] * 11)  # wrong on nine rows
    predictions = np.array([0] * 9 + [1] + [0] * 10)  # right on those, wrong on one other
    found = compare_paired(predictions, baseline, labels)
    assert (found.gained, found.lost) == (9, 1)
    assert found.p_value == pytest.approx(2 * binom.cdf(1, 10, 0.5))


def test_interval_covers_the_true_difference():
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        labels = np.zeros(200, dtype=int)
        base = random.random(200) < 0.3  # wrong
        repaired = base & (random.random(200) < 0.5)
        found = compare_paired((base & ~repaired).astype(int), base.astype(int), labels, resamples=2000)
        covered += found.low <= 0.15 <= found.high
    assert covered >= 0.9 * 200


def test_same_seed_gives_the_same_interval():
    predictions, baseline, labels = np.random.default_rng(2).integers(0, 2, (3, 40))
    assert compare_paired(predictions, baseline, labels) == compare_paired(predictions, baseline, labels)


@pytest.mark.parametrize("rows", [(2, 3, 3), (0, 0, 0)])
def test_other_lengths_are_refused(rows):
    with pytest.raises(ValueError, match="one length"):
        compare_paired(*(np.zeros(n, dtype=int) for n in rows))
