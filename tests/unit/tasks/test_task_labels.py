"""Label names and numbers, alike in all tasks that share them."""

import numpy as np
import pytest

from sgg_ray.tasks import load_tasks


def reviews(number, prefix="row", labels=("negative", "positive")):
    return [(f"{prefix} {position}", labels[position % len(labels)]) for position in range(number)]


def pairs(task, rows):
    return {(text, task.labels[label]) for text, label in zip(rows.texts, rows.labels)}


def test_equal_label_sets_get_the_order_of_the_first_task(configure, write):
    sources = [
        {"name": "a", "path": write("a.csv", reviews(4, "a")), "labels": ["negative", "positive"]},
        {"name": "b", "path": write("b.csv", [("x", 0), ("y", 1)]), "labels": {"negative": 0, "positive": 1}},
        {"name": "c", "path": write("c.csv", reviews(6, "c", ("negative", "neutral", "positive")))},
    ]
    target, (a, b, c) = load_tasks(configure(sources, labels=["positive", "negative"]))
    assert target.labels == a.labels == b.labels == ("positive", "negative")
    assert target.head == a.head == b.head != c.head
    assert pairs(a, a.train) == set(reviews(4, "a"))
    assert pairs(b, b.train) == {("x", "negative"), ("y", "positive")}


def test_labels_left_out_are_those_found_in_sorted_order(configure, write):
    target, _ = load_tasks(configure(path=write("t.jsonl", [(f"r{n}", n % 3) for n in range(30)])))
    assert target.labels == ("0", "1", "2")


@pytest.mark.parametrize("labels", [[0, 1], ["0", "1"], [0.0, 1.0], {"a": 0, "b": "1"}])
def test_labels_compare_as_text(configure, write, labels):
    path = write("t.jsonl", [(f"r{n}", float(n % 2)) for n in range(30)])
    target, _ = load_tasks(configure(path=path, labels=labels))
    assert np.bincount(target.train.labels).tolist() == [4, 4]


def test_a_label_outside_labels_comes_with_counts_and_advice(configure, problems, write):
    rows = [*reviews(20), *[(f"n{n}", "neutral") for n in range(3)], ("one", "typo")]
    (line,) = problems(configure(path=write("t.csv", rows), labels=["negative", "positive"]))
    assert line.startswith("target.labels: column 'label' of ")
    assert "holds 'neutral' (3 rows), 'typo' (1 row), which is none of negative, positive" in line
    assert line.endswith("add them to labels, or leave their rows out with where")


def test_labels_that_never_occur_come_with_how_to_map_them(configure, problems, write):
    path = write("t.csv", [(f"r{n}", n % 2) for n in range(30)])
    (line,) = problems(configure(path=path, labels=["negative", "positive"]))
    assert line.endswith("write labels as 'name: value in the file': {negative: ..., positive: ...}")


def test_a_column_that_holds_no_labels_is_recognised(configure, problems, write):
    (line,) = problems(configure(path=write("t.csv", [(f"r{n}", f"id{n}") for n in range(150)])))
    assert line.startswith("target.columns.label: column 'label' of ")
    assert "has 150 different values, which are no labels" in line
    (line,) = problems(configure(path=write("t.csv", [("a", "x"), ("b", "x")])))
    assert "holds only 'x', at least two labels are needed" in line


def test_label_sets_that_differ_have_keys_that_differ():
    from sgg_ray.tasks import joined

    sets = [("a", "b", "c"), ("a|b", "c"), ("a", "b|c"), ("a\\", "b|c"), ("a\\|b", "c")]
    assert len({joined(labels) for labels in sets}) == len(sets)
    assert joined(("negative", "positive")) == "negative|positive"


def test_a_label_may_stand_for_several_values(configure, write):
    rows = reviews(40, labels=("negative", "neutral", "positive", "neutral"))
    labels = {"neutral": "neutral", "opinion": ["negative", "positive"]}
    target, _ = load_tasks(configure(path=write("t.csv", rows), labels=labels))
    assert target.labels == ("neutral", "opinion")
    value = dict(rows)
    everything = [*zip(target.train.texts, target.train.labels), *zip(target.test.texts, target.test.labels)]
    assert everything
    for text, label in everything:
        assert (value[text] == "neutral") == (label == 0)


def test_labels_that_differ_in_case_alone_are_not_guessed_to_be_others(configure, problems, write):
    path = write("t.csv", reviews(40, labels=("Good", "bad", "good ", "BAD", "fair")))
    (line,) = problems(configure(path=path))
    assert line.endswith("say what is one label: {bad: [BAD, bad], good: [Good, good], fair: [fair]}")
    labels = {"bad": ["BAD", "bad"], "fair": ["fair"], "good": ["Good", "good"]}
    target, _ = load_tasks(configure(path=path, labels=labels))
    assert target.labels == ("bad", "fair", "good")
