"""What tasks share, and labels that may be one."""

import numpy as np
import pytest

from sgg_ray.tasks import Overlap, Rows, Task, almost_in, label_twins, overlaps


def task(name, texts, labels=("no", "yes"), numbers=None):
    rows = Rows(tuple(texts), np.array(numbers or [0] * len(texts)))
    return Task(name, tuple(labels), rows, rows.take([]), "source")


def test_texts_of_two_tasks_are_compared_without_case_and_spacing():
    one, other = task("a", ["One  text", "two", "three"]), task("b", ["one text", "THREE", "four"])
    assert overlaps([one, other, task("c", ["five"])]) == [Overlap("a", "b", 2, 0)]


def test_contradictions_are_counted_by_the_names_that_both_tasks_know():
    one = task("a", ["x", "y", "z"], ("no", "yes"), [0, 1, 0])
    same_names_other_order = task("b", ["x", "y", "z"], ("yes", "no"), [0, 0, 1])
    assert overlaps([one, same_names_other_order]) == [Overlap("a", "b", 3, 1)]
    other_names = task("c", ["x", "y"], ("sport", "news"), [0, 1])
    assert overlaps([one, other_names]) == [Overlap("a", "c", 2, 0)]


def test_the_largest_overlap_comes_first():
    tasks = [task("a", ["x", "y"]), task("b", ["x"]), task("c", ["x", "y"])]
    assert [(one.first, one.second) for one in overlaps(tasks)] == [("a", "c"), ("a", "b"), ("b", "c")]


def test_test_texts_that_differ_in_punctuation_alone_are_counted():
    rows = Rows(("A fine film!", "so-so", "..."), np.zeros(3, dtype=int))
    test = Rows(("a fine film", "so so.", "another", "!!!"), np.zeros(4, dtype=int))
    assert almost_in(rows, test) == 2


@pytest.mark.parametrize(
    ("labels", "twins"),
    [
        (("very good", "very_good"), True),
        (("Sport.", "sport"), True),
        (("positive", "postive"), True),
        (("entailment", "entailments"), True),
        (("positive", "negative"), False),
        (("relevant", "irrelevant"), False),
        (("acceptable", "unacceptable"), False),
        (("level 1", "level 2"), False),
        (("kind10", "kind11"), False),
        (("0", "1"), False),
        (("+", "-"), False),
    ],
)
def test_labels_that_may_be_one(labels, twins):
    assert label_twins((*labels, "something else")) == ([labels] if twins else [])
