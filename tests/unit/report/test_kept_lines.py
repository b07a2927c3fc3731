"""A training ends with which model it keeps, and says so when the test rows would have chosen the other."""

import numpy as np
import pytest

from sgg_ray.evaluation import HeldOutComparison, compare_paired
from sgg_ray.report import kept_lines, unlabelled_line


def held_out(low, high):
    return HeldOutComparison((low + high) / 2, low, high, 0.75, 0.7, 32, 0.9)


def on_test(right, right_before):
    labels = np.zeros(200, dtype=int)
    return compare_paired(np.arange(200) >= right, np.arange(200) >= right_before, labels)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (
            held_out(0.1, 0.3),
            "guided is better than target only (+0.20 nats a row, 90 % interval +0.10 … +0.30)",
        ),
        (held_out(-0.1, 0.3), "no difference is shown"),
        (held_out(-0.3, -0.1), "guided is worse than target only"),
    ],
)
def test_the_verdict_is_in_words(kept, said):
    (line,) = kept_lines(kept, on_test(120, 120))
    assert line.startswith("on 32 shots that were held out in turn")
    assert said in line
    assert line.endswith(f"{'the baseline' if 'worse' in said else 'guided'} is kept as the model")


def test_test_rows_that_disagree_are_told_and_do_not_decide():
    _, against = kept_lines(held_out(0.1, 0.3), on_test(100, 140))
    assert against.startswith(
        "the test rows disagree: there guided is worse by 20.0 points. The choice stays"
    )
    _, for_guided = kept_lines(held_out(-0.3, -0.1), on_test(140, 100))
    assert "there guided is better by 20.0 points" in for_guided
    assert len(kept_lines(held_out(-0.3, -0.1), on_test(100, 140))) == 1
    assert len(kept_lines(held_out(0.1, 0.3), None)) == 1


def test_without_held_out_shots_nothing_was_chosen():
    (line,) = kept_lines(None, on_test(100, 140))
    assert "no shots were held out to choose by (train.calibration_folds)" in line


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (held_out(0.1, 0.3), "the average is better with what was learnt from unlabelled texts (+0.20 nats"),
        (held_out(-0.1, 0.3), "unlabelled texts make no difference that is shown (+0.10 nats"),
        (held_out(-0.3, -0.1), "interval -0.30 … -0.10): it is left out of the model"),
    ],
)
def test_what_unlabelled_texts_brought_is_in_words(found, said):
    line = unlabelled_line(found)
    assert line.startswith("on 32 held-out shots")
    assert said in line
