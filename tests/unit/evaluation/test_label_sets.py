"""F1 of sets of labels against scikit-learn, and a threshold that is found on held-out rows."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sgg_ray.evaluation import (
    compare_label_sets,
    evaluate_label_sets,
    fit_threshold,
    given_labels,
    metrics_of_counts,
)
from sgg_ray.evaluation.label_sets import _micro_f1_with_error

RANDOM = np.random.default_rng(5)
TRUE = RANDOM.random((60, 3)) < (0.5, 0.2, 0.05)
GOOD, BAD = TRUE ^ (RANDOM.random((60, 3)) < 0.1), RANDOM.random((60, 3)) < 0.3


def test_metrics_are_those_of_scikit_learn():
    found = evaluate_label_sets(GOOD, TRUE)
    assert found.micro_f1 == pytest.approx(f1_score(TRUE, GOOD, average="micro"))
    assert found.macro_f1 == pytest.approx(f1_score(TRUE, GOOD, average="macro", zero_division=0))
    assert found.f1 == pytest.approx(f1_score(TRUE, GOOD, average=None, zero_division=0))
    assert found.exact_match == pytest.approx((GOOD == TRUE).all(axis=1).mean())
    assert found.micro_f1_low < found.micro_f1 < found.micro_f1_high
    counts = metrics_of_counts(np.stack([(GOOD & TRUE).sum(0), GOOD.sum(0), TRUE.sum(0)]), 30, 60)
    assert (counts.micro_f1, counts.macro_f1, counts.exact_match) == (found.micro_f1, found.macro_f1, 0.5)
    assert "micro_f1_low" not in counts.to_dict()  # NaN is no JSON


def test_a_better_model_is_told_from_a_worse_one():
    assert compare_label_sets(GOOD, BAD, TRUE).verdict == "better"
    assert compare_label_sets(BAD, GOOD, TRUE).verdict == "worse"
    assert compare_label_sets(GOOD, GOOD, TRUE).gains() == {"micro_f1": 0.0, "exact_match": 0.0}


def test_the_same_labels_for_all_are_the_floor():
    sets = [np.array([number >> place & 1 for place in range(3)]) for number in range(1, 8)]
    every = [evaluate_label_sets(np.tile(one, (60, 1)), TRUE).micro_f1 for one in sets]
    assert evaluate_label_sets(GOOD, TRUE).constant_micro_f1 == pytest.approx(max(every))


def test_no_label_anywhere_counts_nothing():
    nothing = np.zeros((4, 2))
    assert evaluate_label_sets(nothing, nothing).micro_f1 == 0
    assert evaluate_label_sets(nothing, nothing).exact_match == 1


def test_a_threshold_is_where_f1_is_best():
    true = np.array([1] * 6 + [0] * 10)
    low = np.where(true, 0.3, 0.1) + np.linspace(0, 0.05, 16)
    both = np.stack([low, low[::-1]], axis=1), np.stack([true, true[::-1]], axis=1)
    threshold = fit_threshold(*both, at_least_one=False)
    assert (given_labels(both[0], threshold) == (both[1] > 0)).all()
    assert given_labels(both[0]).sum() == 0


def test_a_threshold_that_is_hardly_better_is_not_taken():
    """What a few rows say for another threshold may be chance: within one standard error ½ stays."""
    chance = np.random.default_rng(4)
    probabilities = chance.random((12, 2))
    true = chance.random((12, 2)) < probabilities
    assert fit_threshold(probabilities, true, at_least_one=False) == 0.5
    many = np.tile(probabilities, (400, 1))
    assert fit_threshold(many, np.tile(true, (400, 1)), at_least_one=False) != 0.5


def test_each_row_has_a_label_where_each_shot_has_one():
    probabilities = np.array([[0.1, 0.3, 0.2], [0.7, 0.6, 0.1]])
    assert given_labels(probabilities, at_least_one=True).tolist() == [
        [False, True, False],
        [True, True, False],
    ]
    assert given_labels(probabilities).tolist() == [[False, False, False], [True, True, False]]


def test_the_standard_error_is_that_of_resampling():
    draws = RANDOM.integers(60, size=(2000, 60))
    values = [f1_score(TRUE[rows], GOOD[rows], average="micro") for rows in draws[:400]]
    value, error = _micro_f1_with_error(GOOD, TRUE)
    assert value == pytest.approx(f1_score(TRUE, GOOD, average="micro"))
    assert error == pytest.approx(np.std(values), rel=0.15)
