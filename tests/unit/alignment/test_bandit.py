"""Bandits over sources against the equations of FLAD, worked out by hand, and what they come to choose."""

import math

import numpy as np
import pytest

from sgg_ray.alignment.bandit import BANDITS, Exp3, Ucb1


def played(bandit, means, turns, seed=0, group=4):
    """Turns of each source, with rewards of these means that come in once a group."""
    random, taken = np.random.default_rng(seed), np.zeros(len(means))
    if bandit.needs_first:
        bandit.learn(dict(enumerate(means)))
    for _ in range(turns // group):
        chosen = [bandit.turn(random) for _ in range(group)]
        for source in chosen:
            taken[source] += 1
        bandit.learn({source: means[source] + 0.1 * random.standard_normal() for source in set(chosen)})
    return taken


def test_probabilities_of_exp3_follow_its_equations():
    bandit = Exp3(3)
    np.testing.assert_allclose(bandit.probabilities(), 1 / 3)
    random = np.random.default_rng(0)
    for _ in range(8):
        bandit.turn(random)
    bandit.rewards[:] = [2.0, 0.0, -1.0]
    now, before = math.sqrt(math.log(3) / 24), math.sqrt(math.log(3) / 21)  # of turns 8 and 7, below 1/3
    odds = np.exp(before * bandit.rewards)
    expected = (1 - 3 * now) * odds / odds.sum() + now
    np.testing.assert_allclose(bandit.probabilities(), expected)
    assert bandit.probabilities().sum() == pytest.approx(1.0)
    bandit.learn({1: 0.5})
    np.testing.assert_allclose(bandit.rewards, [2.0, 0.5 / expected[1], -1.0])


def test_exp3_begins_with_equal_chances():
    bandit = Exp3(4)
    for turn in (1, 2, 5):  # √(ln 4 / 4t) is above 1/4 until t = 5
        assert bandit.exploration(turn) == pytest.approx(0.25)
    assert bandit.exploration(8) == pytest.approx(math.sqrt(math.log(4) / 32))


def test_ucb1_takes_the_highest_bound():
    bandit = Ucb1(3)
    bandit.learn({0: 0.5, 1: 0.4, 2: -0.9})
    random = np.random.default_rng(0)
    # t = 3: all bounds have the same width, the best mean wins; then its bound is 0.5 + √(2 ln 4 / 2) = 1.68, and that
    # of the second 0.4 + √(2 ln 4) = 2.07.
    assert [bandit.turn(random), bandit.turn(random)] == [0, 1]
    bandit.learn({0: 0.1})
    np.testing.assert_allclose(bandit.rewards, [0.1 * 0.5 + 0.9 * 0.1, 0.4, -0.9])
    np.testing.assert_array_equal(bandit.counts, [2, 2, 1])


@pytest.mark.parametrize("name", BANDITS)
def test_sources_that_agree_get_most_turns(name):
    taken = played(BANDITS[name](4), [0.6, -0.6, 0.0, 0.5], 2000)
    assert taken[0] > taken[2] > taken[1]
    assert taken[[0, 3]].sum() > 0.6 * taken.sum()
    assert taken.min() > 0  # nothing is given up


@pytest.mark.parametrize("name", BANDITS)
def test_a_restored_bandit_goes_on_alike(name):
    whole, half = BANDITS[name](3), BANDITS[name](3)
    played(whole, [0.5, 0.0, -0.5], 40)
    half.restore(whole.state())
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    assert [whole.turn(one) for _ in range(20)] == [half.turn(other) for _ in range(20)]


@pytest.mark.parametrize("name", BANDITS)
def test_one_source_gets_every_turn(name):
    assert played(BANDITS[name](1), [0.3], 8) == [8]
