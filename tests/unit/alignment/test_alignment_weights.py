import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.alignment import WEIGHTINGS, Score, mixture_strength, mixture_weights, verdict


def make(value, low=None, high=None):
    return Score(value, value if low is None else low, value if high is None else high, 1.0, 0.5, value)


@st.composite
def scores(draw):
    kind = draw(st.sampled_from(["missing", "nan", "fine", "fine", "fine"]))
    if kind == "missing":
        return None
    if kind == "nan":
        return make(math.nan)
    low, value, high = sorted(draw(st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3)))
    return make(value, low, high)


some_scores = st.lists(scores(), max_size=12)
rules = st.sampled_from(WEIGHTINGS)


@given(some_scores, rules)
def test_weights_add_up_to_one_or_are_all_zero(found, rule):
    weights = mixture_weights(found, rule)
    assert weights.shape == (len(found),)
    assert (weights >= 0.0).all()
    total = weights.sum()
    assert total == pytest.approx(1.0) or not weights.any() or (rule == "evidence" and total < 1.0)


@given(some_scores, rules)
def test_sources_without_a_finite_score_have_no_weight(found, rule):
    weights = mixture_weights(found, rule)
    assert all(weight == 0.0 for weight, score in zip(weights, found) if verdict(score) == "failed")


@given(some_scores, rules, st.randoms())
def test_weights_follow_their_sources(found, rule, random):
    order = list(range(len(found)))
    random.shuffle(order)
    weights = mixture_weights(found, rule)
    np.testing.assert_allclose(mixture_weights([found[i] for i in order], rule), weights[order], atol=1e-12)


@given(some_scores)
def test_relu_gives_nothing_to_negative_values(found):
    weights = mixture_weights(found, "relu")
    assert all(weight == 0.0 for weight, score in zip(weights, found) if score and score.value <= 0.0)


def test_each_rule_by_hand():
    found = [make(0.6, 0.2), make(0.2, -0.1), make(-0.5, -0.8), None]
    np.testing.assert_allclose(mixture_weights(found, "uniform"), [1 / 3, 1 / 3, 1 / 3, 0.0])
    np.testing.assert_allclose(mixture_weights(found, "relu"), [0.75, 0.25, 0.0, 0.0])
    np.testing.assert_allclose(mixture_weights(found, "none"), 0.0)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="choose one of uniform, relu"):
        mixture_weights([], "median")


def test_a_source_that_pulls_against_a_kept_one_has_no_weight_but_under_rules_that_ask_for_no_score():
    kept = Score(0.6, 0.2, 0.9, 1.0, 0.5, 0.6)
    turned = replace(kept, opposes="kept")
    for rule in WEIGHTINGS:
        weights = mixture_weights([kept, turned], rule)
        equal = {name: [0.5, 0.5] for name in ("uniform", "exp3", "ucb1")}
        expected = {**equal, "none": [0.0, 0.0]}.get(rule, [1.0, 0.0])
        np.testing.assert_allclose(weights, expected)
    assert verdict(turned) == "harmful"


def test_unsteady_sources_and_texts_of_another_kind_count_less():
    plain = make(0.4, 0.2, 0.6)
    unsteady, unlike = replace(plain, source_reliability=0.25), replace(plain, domain_similarity=0.5)
    assert mixture_weights([plain, unsteady, unlike]) == pytest.approx([0.5, 0.25, 0.25])
    assert (unsteady.utility, unlike.utility) == pytest.approx((0.2, 0.2))
    assert Score.from_dict(unlike.to_dict()) == unlike


@pytest.mark.parametrize(
    ("values", "strength"),
    [
        ([], 0.0),
        ([-0.5, 0.01], 0.0),
        ([0.02], 0.0),
        ([0.02 * 5**0.5, -0.3], 0.5),
        ([0.03, 0.03, 0.04], 1.0),
        ([0.9], 1.0),
    ],
)
def test_a_mixture_is_as_strong_as_the_sum_of_its_positive_utilities(values, strength):
    found = [make(value) for value in values]
    assert mixture_strength(found) == pytest.approx(strength)
    assert mixture_weights(found, "evidence").sum() == pytest.approx(strength)


def test_a_source_at_the_targets_own_head_counts_in_full_if_it_helps_at_all():
    tiny = replace(make(0.001), meets_head=True)
    assert mixture_weights([tiny], "evidence").tolist() == [1.0]
    assert mixture_strength([replace(tiny, value=-0.001)]) == 0.0
