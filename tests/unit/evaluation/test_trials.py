"""Which trial is best, and which are as good as it as far as anybody can tell."""

import numpy as np
import pytest
from scipy import stats

from sgg_ray.evaluation import Trial, gain_over, ranked, within_noise


def trial(number, losses, status="finished", **more):
    parts = [list(part) for part in np.array_split(np.asarray(losses, dtype=float), 2)]
    correct = [[loss < 0.7 for loss in part] for part in parts]
    return Trial(number, {"guidance.lambda_direction": 0.1}, status, parts, correct, **more)


def test_means_are_over_rows_and_spread_is_over_trainings():
    found = Trial(1, {}, "finished", [[0.0, 1.0], [5.0]], [[True, False], [False]])
    assert found.loss == pytest.approx(2.0)
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.spread("loss") == pytest.approx(np.std([0.5, 5.0], ddof=1))


def test_a_trial_without_rows_has_no_means():
    empty = Trial(1, {}, "failed")
    assert np.isnan([empty.loss, empty.accuracy, empty.spread("loss")]).all()


def test_finished_trials_come_first_and_the_best_of_them_before_the_others():
    trials = [
        trial(1, [0.9] * 8),
        trial(2, [0.1] * 4, "stopped"),
        trial(3, [0.2] * 8),
        Trial(4, {}, "failed"),
    ]
    assert [found.number for found in ranked(trials, "loss")] == [3, 1, 2, 4]


def test_the_monitor_decides_what_is_best():
    confident = Trial(1, {}, "finished", [[0.0, 4.0]], [[True, True]])
    cautious = Trial(2, {}, "finished", [[0.6, 0.6]], [[True, False]])
    assert ranked([confident, cautious], "loss")[0] is cautious
    assert ranked([confident, cautious], "accuracy")[0] is confident


def test_the_gain_is_the_paired_t_interval():
    random = np.random.default_rng(0)
    mine, theirs = random.random(20), random.random(20) + 0.3
    gain = gain_over(trial(1, mine), trial(2, theirs), "loss")
    interval = stats.ttest_1samp(theirs - mine, 0.0).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))
    assert gain.value == pytest.approx((theirs - mine).mean())
    back = gain_over(trial(2, theirs), trial(1, mine), "loss")
    assert (back.low, back.high) == pytest.approx((-gain.high, -gain.low))


def test_rows_that_differ_alike_leave_no_doubt():
    gain = gain_over(trial(1, [0.1] * 6), trial(2, [0.4] * 6), "loss")
    assert gain.is_clear
    assert gain.low == pytest.approx(gain.high)


def test_trials_of_different_rows_are_not_compared():
    with pytest.raises(ValueError, match="same rows"):
        gain_over(trial(1, [0.1] * 6), trial(2, [0.4] * 4), "loss")


def test_noise_is_what_the_best_does_not_clearly_beat():
    random = np.random.default_rng(1)
    base = random.random(40)
    best = trial(1, base)
    noise = random.normal(0.0, 0.5, 40)
    alike = trial(2, base + noise - noise.mean() + 0.02)
    worse = trial(3, base + random.normal(1.0, 0.1, 40))
    stopped = trial(4, base[:20], "stopped")
    assert [found.number for found in within_noise([worse, alike, stopped, best], "loss")] == [1, 2]
