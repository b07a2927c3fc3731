"""Metrics of generated texts: their definitions, and that a comparison of a model with itself is 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.evaluation import (
    compare_generation,
    evaluate_generation,
    normalised,
    rouge_l,
    score_answers,
)

REFERENCES = ["a b c", "d", "e f", "Paris."]


def scores(texts=("a c", "d", "x", "PARIS"), losses=(1.0, 2.0, 3.0, 4.0), tokens=(4, 1, 1, 2)):
    return score_answers(list(texts), REFERENCES, np.array(losses), np.array(tokens))


def test_loss_and_perplexity_are_over_tokens():
    found = evaluate_generation(scores())
    assert found.loss == pytest.approx((4 + 2 + 3 + 8) / 8)
    assert found.perplexity == pytest.approx(np.exp(17 / 8))
    assert found.loss_low <= found.loss <= found.loss_high
    assert found.rows == 4


def test_exact_match_leaves_case_spacing_spelling_and_a_full_stop_aside():
    found = evaluate_generation(scores())
    assert found.exact_match == 0.5
    assert 0 < found.exact_match_low < 0.5 < found.exact_match_high < 1
    for text in ("The  answer", "the answer.", "ＴＨＥ answer ."):
        assert normalised(text) == "the answer"
    for other in ("an answer", "the answers", "the-answer", "3.5", "-5"):
        assert normalised(other) not in (normalised("the answer"), normalised("35"), normalised("5"))


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence():
    # "a c" in "a b c": precision 1, recall 2/3
    np.testing.assert_allclose(
        rouge_l(["a c", "", "same words"], ["a b c", "x", "Same, words!"]), [0.8, 0, 1]
    )


def test_rouge_l_knows_words_of_any_script():
    np.testing.assert_allclose(
        rouge_l(["der grüne Bär", "привет мир"], ["ein grüner Bär", "привет"]), [1 / 3, 2 / 3]
    )


def test_a_model_is_no_better_than_itself():
    found = compare_generation(scores(), scores())
    assert (found.loss.difference, found.loss.low, found.loss.high) == (0, 0, 0)
    assert found.rouge_l.difference == found.exact_match.difference == 0
    assert found.exact_match.p_value == 1


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), st.integers(1, 9)), min_size=4, max_size=4))
def test_differences_are_those_of_the_metrics_and_turn_with_the_models(rows):
    mine, theirs, tokens = (np.array(part) for part in zip(*rows))
    one, other = scores(losses=mine, tokens=tokens), scores(("a", "d", "e f", "x"), theirs, tokens)
    found, turned = compare_generation(one, other), compare_generation(other, one)
    a, b = evaluate_generation(one), evaluate_generation(other)
    assert found.loss.difference == pytest.approx(a.loss - b.loss, abs=1e-9)
    assert found.exact_match.difference == pytest.approx(a.exact_match - b.exact_match)
    assert found.rouge_l.difference == pytest.approx(a.rouge_l - b.rouge_l)
    assert turned.loss.low == pytest.approx(-found.loss.high, abs=1e-9)
    assert turned.rouge_l.difference == pytest.approx(-found.rouge_l.difference)


def test_rows_that_cannot_be_measured_are_refused():
    with pytest.raises(ValueError, match="losses of 1 of 4 rows are not finite"):
        scores(losses=(1, 2, np.nan, 4))
    with pytest.raises(ValueError, match="expected as many texts"):
        score_answers(["a"], [], np.array([1.0]), np.array([1]))
    with pytest.raises(ValueError, match="the same references"):
        compare_generation(scores(), scores(tokens=(4, 1, 1, 3)))
