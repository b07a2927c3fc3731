"""Which model is kept follows from held-out rows alone, and only a clear loss takes the guided one's place."""

import numpy as np
import pytest
from scipy.stats import t

from sgg_ray.evaluation import BASELINE, GUIDED, compare_held_out

LABELS = np.arange(40) % 2


def sure_of(chances):
    """Probabilities [n, 2] that give the true label these chances."""
    chances = np.broadcast_to(chances, LABELS.shape)
    found = np.stack([1 - chances, chances], axis=1)
    return np.where(LABELS[:, None] == 1, found, found[:, ::-1])


@pytest.fixture
def noisy():
    random = np.random.default_rng(0)
    return lambda mean: np.clip(mean + random.normal(0, 0.05, len(LABELS)), 0.02, 0.98)


def test_a_model_that_is_clearly_better_or_worse_is_told_so(noisy):
    good, bad = sure_of(noisy(0.8)), sure_of(noisy(0.55))
    found = compare_held_out(good, bad, LABELS)
    assert (found.verdict, found.kept) == ("better", GUIDED)
    assert 0 < found.low < found.gain < found.high
    back = compare_held_out(bad, good, LABELS)
    assert (back.verdict, back.kept) == ("worse", BASELINE)
    assert (back.gain, back.low) == pytest.approx((-found.gain, -found.high))


def test_without_a_difference_the_guided_model_stays(noisy):
    found = compare_held_out(sure_of(noisy(0.7)), sure_of(noisy(0.7)), LABELS)
    assert (found.verdict, found.kept) == ("no difference shown", GUIDED)


def test_being_too_sure_does_not_decide():
    """The same model twice, once with logits five times as large, is equally good after calibration."""
    chances = np.where(np.arange(len(LABELS)) % 5, 0.7, 0.4)
    odds = (chances / (1 - chances)) ** 5
    found = compare_held_out(sure_of(odds / (1 + odds)), sure_of(chances), LABELS)
    assert abs(found.gain) < 0.02
    assert found.accuracy == found.baseline_accuracy == 0.8


def test_the_interval_is_students(noisy):
    one, other = sure_of(noisy(0.8)), sure_of(noisy(0.7))
    found = compare_held_out(one, other, LABELS)
    wider = compare_held_out(one, other, LABELS, confidence=0.99)
    ratio = t.ppf(0.995, len(LABELS) - 1) / t.ppf(0.95, len(LABELS) - 1)
    assert (wider.high - wider.low) / (found.high - found.low) == pytest.approx(ratio)
    assert found.rows == 40


def test_about_one_in_twenty_equal_models_is_taken_for_worse():
    random = np.random.default_rng(1)
    verdicts = []
    for _ in range(200):
        common = random.normal(0, 1.5, 32)  # what both models see of each row, in logits
        labels = (random.random(32) < 1 / (1 + np.exp(-common))).astype(int)
        second = [1 / (1 + np.exp(-common - random.normal(0, 1, 32))) for _ in range(2)]
        one, other = (np.stack([1 - chance, chance], axis=1) for chance in second)
        verdicts.append(compare_held_out(one, other, labels).verdict)
    assert 0.01 <= verdicts.count("worse") / len(verdicts) <= 0.09


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="same rows"):
        compare_held_out(sure_of(0.7)[:5], sure_of(0.7), LABELS)
    with pytest.raises(ValueError, match="two at least"):
        compare_held_out(sure_of(0.7)[:1], sure_of(0.7)[:1], LABELS[:1])
