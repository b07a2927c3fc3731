import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from sgg_ray.evaluation import Reliability, evaluate_classification, fit_temperature, metrics_of, scaled


def draw(rows: int, temperature: float, seed: int = 0, classes: int = 3):
    """Labels drawn from softmax(z), and probabilities softmax(z · temperature), which are too sure of them."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * 2
    true = softmax(logits, axis=1)
    labels = np.array([random.choice(classes, p=row) for row in true])
    return softmax(logits * temperature, axis=1), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    probabilities, labels = draw(20_000, temperature)
    assert fit_temperature(probabilities, labels) == pytest.approx(temperature, rel=0.05)


def test_few_rows_that_are_all_right_or_all_wrong_give_a_temperature_too():
    sure = np.array([[0.999, 0.001], [0.001, 0.999]] * 4)
    assert 0.1 < fit_temperature(sure, np.array([0, 1] * 4)) < 1
    assert 1 < fit_temperature(sure, np.array([1, 0] * 4)) < 100
    with pytest.raises(ValueError, match="as many labels as rows"):
        fit_temperature(sure[:0], np.array([]))


@given(st.floats(0.05, 20), st.integers(0, 100))
def test_scaling_keeps_the_class_and_sums_to_one(temperature, seed):
    probabilities = np.random.default_rng(seed).dirichlet([0.1] * 4, size=20)
    found = scaled(probabilities, temperature)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (probabilities[np.arange(20), found.argmax(1)] == probabilities.max(1)).all()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(scaled(probabilities, 1.0), probabilities, atol=1e-12)


def test_the_error_is_what_the_definition_says_however_rows_come():
    confidence = np.array([0.55, 0.56, 0.9, 0.91, 1.0])
    right = np.array([True, False, True, True, False])
    expected = (abs(1 - 1.11) + abs(2 - 1.81) + abs(0 - 1.0)) / 5
    assert Reliability().add(confidence, right).error == pytest.approx(expected)
    parts = Reliability().add(confidence[:2], right[:2]).add(confidence[2:], right[2:])
    assert parts.error == pytest.approx(expected)


def test_scaling_with_the_fitted_temperature_lowers_the_error():
    probabilities, labels = draw(5_000, 4.0)
    fitted = fit_temperature(*draw(2_000, 4.0, seed=1))
    right = probabilities.argmax(1) == labels
    before = Reliability().add(probabilities.max(1), right).error
    after = Reliability().add(scaled(probabilities, fitted).max(1), right).error
    assert after < 0.03 < before


def test_metrics_of_a_confusion_matrix_are_those_of_its_rows():
    probabilities, labels = draw(200, 1.0)
    whole = evaluate_classification(probabilities, labels)
    assert metrics_of(whole.confusion).to_dict() == whole.to_dict()
    from sklearn.metrics import f1_score

    assert whole.macro_f1 == pytest.approx(f1_score(labels, probabilities.argmax(1), average="macro"))
