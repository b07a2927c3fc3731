"""F1 of sets of labels against scikit-learn, and thresholds that are found on held-out rows."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sgg_ray.evaluation import (
    compare_label_sets,
    evaluate_label_sets,
    fit_thresholds,
    given_labels,
    metrics_of_counts,
)

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


def test_no_label_anywhere_counts_nothing():
    nothing = np.zeros((4, 2))
    assert evaluate_label_sets(nothing, nothing).micro_f1 == 0
    assert evaluate_label_sets(nothing, nothing).exact_match == 1


def test_a_threshold_is_where_f1_is_best():
    true = np.array([1] * 6 + [0] * 10)
    low = np.where(true, 0.3, 0.1) + np.linspace(0, 0.05, 16)
    first, second = fit_thresholds(np.stack([low, low + 0.5], axis=1), np.stack([true, true], axis=1))
    for column, threshold in ((low, first), (low + 0.5, second)):
        assert ((column >= threshold) == (true > 0)).all()
    assert given_labels(low[:, None], [first]).sum() == 6
    assert given_labels(low[:, None], None).sum() == 0


def test_a_label_with_few_rows_keeps_one_half():
    probabilities = RANDOM.random((20, 1))
    assert fit_thresholds(probabilities, np.eye(20)[:, :1]) == [0.5]
