import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgg_ray.evaluation import evaluate_classification


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 5))
def test_metrics_agree_with_their_definitions(seed, rows, classes):
    random = np.random.default_rng(seed)
    probabilities, labels = random.random((rows, classes)), random.integers(0, classes, rows)
    found = evaluate_classification(probabilities, labels)
    predicted = probabilities.argmax(1)
    assert found.accuracy == pytest.approx((predicted == labels).mean())
    assert 0.0 <= found.accuracy_low <= found.accuracy <= found.accuracy_high <= 1.0
    assert found.confusion.sum() == found.rows == rows
    assert np.trace(found.confusion) == (predicted == labels).sum()
    shares = []
    for c in range(classes):
        total = (predicted == c).sum() + (labels == c).sum()
        shares.append(2.0 * ((predicted == c) & (labels == c)).sum() / total if total else 0.0)
    assert found.macro_f1 == pytest.approx(np.mean(shares))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_order_of_rows_does_not_matter(seed):
    random = np.random.default_rng(seed)
    probabilities, labels = random.random((30, 3)), random.integers(0, 3, 30)
    order = random.permutation(30)
    first = evaluate_classification(probabilities, labels).to_dict()
    assert evaluate_classification(probabilities[order], labels[order]).to_dict() == first


def test_all_right_is_not_a_certainty():
    found = evaluate_classification(np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 0, 1]))
    assert (found.accuracy, found.macro_f1) == (1.0, 1.0)
    assert found.accuracy_low < 0.7


def test_interval_covers_the_true_accuracy():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        right = random.random(50) < 0.9
        probabilities = np.eye(2)[right.astype(int)]
        found = evaluate_classification(probabilities, np.ones(50, dtype=int))
        covered += found.accuracy_low <= 0.9 <= found.accuracy_high
    assert covered >= 0.92 * 300


def test_metrics_go_into_json():
    json.dumps(evaluate_classification(np.eye(3), np.arange(3)).to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.ones((0, 2)), np.ones(0, dtype=int), "at least one row"),
        (np.ones((3, 2)), np.ones(2, dtype=int), "at least one row"),
        (np.ones((2, 2)), np.array([0, 2]), "labels must be 0 … 1, found 0 … 2"),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), np.array([0, 1]), "of 1 of 2 rows are not finite"),
    ],
)
def test_bad_input_is_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate_classification(probabilities, labels)
