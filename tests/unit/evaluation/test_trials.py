"""Which trial is best, and which are as good as it as far as anybody can tell."""

import numpy as np
import pytest
from scipy import stats

from sgg_ray.evaluation import Trial, gains_of_best, gains_of_first, ranked, within_noise


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


def test_the_interval_of_two_is_about_students():
    random = np.random.default_rng(0)
    mine, theirs = random.random(60), random.random(60) + 0.3
    gain = gains_of_first([trial(1, mine), trial(2, theirs)], "loss")[2]
    interval = stats.ttest_1samp(theirs - mine, 0.0).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), abs=0.03)
    assert gain.value == pytest.approx((theirs - mine).mean())


def test_the_more_trials_the_wider_the_interval():
    random = np.random.default_rng(2)
    losses = [random.random(40) + 0.02 * number for number in range(12)]
    few = gains_of_best([losses[0], losses[11]])[0]
    many = gains_of_best([losses[0], losses[11], *losses[1:11]])[0]
    assert many.value == few.value
    assert many.high - many.low > 1.3 * (few.high - few.low)


def test_the_best_of_twenty_equal_trials_beats_none():
    random, clear = np.random.default_rng(3), 0
    for _ in range(20):
        rows = random.normal(size=(32, 1)) + random.normal(size=(32, 20))
        rows = rows[:, rows.mean(axis=0).argsort()]
        clear += any(gain.is_clear for gain in gains_of_best(list(rows.T), resamples=200))
    assert clear <= 3  # with a t test of each against the best: 16


def test_one_row_of_32_is_not_clearly_worse():
    right = np.array([True] * 20 + [False] * 12)
    flipped = [right.copy() for _ in range(7)]
    for place, rows in enumerate(flipped):
        rows[place] = False
    trials = [
        Trial(n, {}, "finished", [[0.5] * 32], [list(rows)]) for n, rows in enumerate([right, *flipped], 1)
    ]
    assert len(within_noise(trials, "accuracy")) == 8


def test_rows_that_differ_alike_leave_no_doubt():
    gain = gains_of_first([trial(1, [0.1] * 6), trial(2, [0.4] * 6)], "loss")[2]
    assert gain.is_clear
    assert gain.low == pytest.approx(gain.high)


def test_trials_of_different_rows_are_not_compared():
    with pytest.raises(ValueError, match="same rows"):
        gains_of_first([trial(1, [0.1] * 6), trial(2, [0.4] * 4)], "loss")


def test_noise_is_what_the_best_does_not_clearly_beat():
    random = np.random.default_rng(1)
    base = random.random(40)
    best = trial(1, base)
    noise = random.normal(0.0, 0.5, 40)
    alike = trial(2, base + noise - noise.mean() + 0.02)
    worse = trial(3, base + random.normal(1.0, 0.1, 40))
    stopped = trial(4, base[:20], "stopped")
    assert [found.number for found in within_noise([worse, alike, stopped, best], "loss")] == [1, 2]
