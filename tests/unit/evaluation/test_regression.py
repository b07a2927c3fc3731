"""Errors and rank correlations against SciPy and against cases that are known."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from sgg_ray.evaluation import (
    OrdinalMetrics,
    compare_regression,
    evaluate_regression,
    median_level,
    metrics_of,
    spearman,
)

RANDOM = np.random.default_rng(3)
TRUE = RANDOM.normal(size=80).round(1)
GOOD, BAD = TRUE + RANDOM.normal(size=80) / 4, RANDOM.normal(size=80)


def test_metrics_are_those_of_the_definitions():
    found = evaluate_regression(GOOD, TRUE)
    assert found.mae == pytest.approx(np.abs(GOOD - TRUE).mean())
    assert found.rmse == pytest.approx(math.sqrt(((GOOD - TRUE) ** 2).mean()))
    assert found.spearman == pytest.approx(spearmanr(GOOD, TRUE)[0])
    assert found.mae_low < found.mae < found.mae_high
    assert found.spearman_low < found.spearman < found.spearman_high
    assert found.constant_mae == pytest.approx(np.abs(TRUE - np.median(TRUE)).mean())
    assert found.of_cell()["accuracy"] == found.spearman


def test_one_number_for_all_rows_has_no_rank():
    assert evaluate_regression(np.ones(5), np.arange(5.0)).spearman == 0


def test_a_better_model_is_told_from_a_worse_one():
    found = compare_regression(GOOD, BAD, TRUE)
    assert found.mae.high < 0 < found.spearman.low
    assert found.verdict == "better"
    assert compare_regression(BAD, GOOD, TRUE).verdict == "worse"
    assert compare_regression(GOOD, GOOD, TRUE).verdict == "no difference shown"
    assert found.gains()["mae"] == pytest.approx(np.abs(BAD - TRUE).mean() - np.abs(GOOD - TRUE).mean())


@pytest.mark.parametrize(
    ("predicted", "true", "line"),
    [([], [], "at least one"), ([1.0], [1.0, 2.0], "as many"), ([math.nan], [1.0], "1 of 2 numbers")],
)
def test_what_cannot_be_measured_is_refused(predicted, true, line):
    with pytest.raises(ValueError, match=line):
        evaluate_regression(np.array(predicted), np.array(true))


def test_distances_follow_from_the_confusion_matrix():
    true, predicted = RANDOM.integers(0, 4, size=(2, 60))
    confusion = np.zeros((4, 4), dtype=int)
    np.add.at(confusion, (true, predicted), 1)
    found = OrdinalMetrics.of(metrics_of(confusion))
    assert found.mae == pytest.approx(np.abs(true - predicted).mean())
    assert found.spearman == pytest.approx(spearmanr(true, predicted)[0])
    assert found.accuracy == pytest.approx((true == predicted).mean())
    assert {"mae", "spearman", "accuracy"} <= set(found.to_dict())


def test_the_median_level_is_least_far_off():
    probabilities = RANDOM.dirichlet(np.ones(5), size=40)
    distance = np.abs(np.arange(5)[:, None] - np.arange(5)[None])
    expected = (probabilities @ distance).argmin(axis=1)
    np.testing.assert_array_equal(median_level(probabilities), expected)


def test_ties_share_their_rank():
    first, second = np.array([1, 1, 2, 3, 3, 3]), np.array([2, 1, 2, 2, 5, 5])
    assert spearman(first, second) == pytest.approx(spearmanr(first, second)[0])
