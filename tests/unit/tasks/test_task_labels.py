"""Label names and numbers, alike in all tasks that share them."""

import numpy as np
import pytest
from reviews import pairs, reviews

from sgg_ray.tasks import load_tasks


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
    assert "has 150 different values, too many for labels" in line
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


ACCENTS = ("cafe\u0301", "caf\u00e9")


@pytest.mark.parametrize("twins", [ACCENTS, ("bar", "ba\u200br"), ("bar", "bar\u00ad")])
def test_labels_that_look_the_same_are_one_and_said(configure, write, twins):
    path = write("t.csv", reviews(40, labels=(*twins, "other")))
    target, _ = load_tasks(configure(path=path))
    assert len(target.labels) == 2
    assert set(target.labels) == {"other", twins[1] if twins == ACCENTS else "bar"}
    assert target.notes[0].startswith("labels that look the same in Unicode are one: ")
    named, _ = load_tasks(configure(path=path, labels=["other", twins[0]]))
    assert named.labels == ("other", *({*target.labels} - {"other"}))


def test_one_spelling_alone_is_no_twin(configure, write):
    target, _ = load_tasks(configure(path=write("t.csv", reviews(40, labels=("caf\u0065\u0301", "bar")))))
    assert target.labels == ("bar", "caf\u00e9")
    assert target.notes == ()


def test_labels_that_joiners_alone_tell_apart_are_not_guessed(configure, problems, write):
    path = write("t.csv", reviews(40, labels=("mi\u200ckhaham", "mikhaham")))
    (line,) = problems(configure(path=path))
    assert "which look alike; say what is one label" in line


def test_minus_one_stands_for_no_label(configure, write):
    path = write("t.csv", [(f"r{n}", (0, 1, -1)[n % 3]) for n in range(60)])
    note = "20 rows labelled -1, which means 'no label', dropped; list -1 in labels if it is one"
    for labels in (None, [0, 1]):
        target, _ = load_tasks(configure(path=path, labels=labels))
        assert target.labels == ("0", "1")
        assert target.notes == (note,)
        assert len(target.train) + len(target.test) == 8 + 8
    target, _ = load_tasks(configure(path=path, labels={"no": 0, "yes": 1}))
    assert (target.labels, target.notes) == (("no", "yes"), (note,))
    target, _ = load_tasks(configure(path=path, labels=[-1, 0, 1]))
    assert (target.labels, target.notes) == (("-1", "0", "1"), ())


def test_minus_one_is_a_label_beside_others_than_class_numbers(configure, write):
    for values in ((-1, 1), (-1, 1, 2), ("-1", "x", "y")):
        path = write("t.csv", [(f"r{n}", values[n % len(values)]) for n in range(60)])
        assert "-1" in load_tasks(configure(path=path))[0].labels


def test_a_test_file_with_hidden_labels_is_refused_and_single_ones_are_dropped(configure, problems, write):
    rows = [(f"r{n}", n % 2) for n in range(40)]
    hidden = write("hidden.csv", [(f"t{n}", -1) for n in range(9)])
    (line,) = problems(configure(path=write("t.csv", rows), test={"path": hidden}))
    assert "holds '-1' (9 rows), which is none of 0, 1" in line
    some = write("some.csv", [(f"t{n}", (0, 1, -1)[n % 3]) for n in range(9)])
    target, _ = load_tasks(configure(path=write("t.csv", rows), test={"path": some}))
    assert len(target.test) == 6
    assert target.notes[0].startswith("test: 3 rows labelled -1")


@pytest.mark.parametrize(
    "values", [("price|speed", "price", "speed"), ("['a', 'b']", "['a']"), ("a, b", "b", "a"), ('["a"]', "b")]
)
def test_lists_of_labels_are_no_classes(configure, problems, write, values):
    path = write("t.jsonl", reviews(40, labels=values))
    (line,) = problems(configure(path=path))
    assert f"holds several labels in one value ('{values[0]}'), a row has one" in line
    target, _ = load_tasks(configure(path=path, labels=list(values)))
    assert target.labels == values


def test_a_comma_in_a_label_is_no_list(configure, write):
    values = ("food, drink", "travel", "food")
    assert load_tasks(configure(path=write("t.jsonl", reviews(40, labels=values))))[0].labels == tuple(
        sorted(values)
    )


def test_bytes_are_labels_as_texts_are(configure, tmp_path):
    import pandas as pd

    rows = [(f"row {n}".encode(), (b"garden", "café".encode())[n % 2]) for n in range(40)]
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(tmp_path / "t.parquet")
    target, _ = load_tasks(configure(path=str(tmp_path / "t.parquet")))
    assert target.labels == ("café", "garden")
    assert all(str(text).startswith("row ") for text in target.train.texts)


@pytest.mark.parametrize("nothing", ["\0", "\x01\x02 \x7f", "\u200b \ufeff", "\x85"])
def test_control_and_invisible_characters_alone_are_no_text(configure, write, nothing):
    target, _ = load_tasks(configure(path=write("t.jsonl", [*reviews(40), *[(nothing, "negative")] * 3])))
    assert target.notes == ("3 rows with an empty text dropped",)


def test_numbers_with_fractions_as_labels_are_said(configure, write):
    path = write("t.csv", [(f"r{n}", (1.0, 3.5, 5.0)[n % 3]) for n in range(30)])
    note = "the labels 1, 3.5, 5 are numbers, taken for classes without an order; kind: ordinal or regression keeps it"
    assert load_tasks(configure(path=path))[0].notes == (note,)
    assert load_tasks(configure(path=path, labels=[1, 3.5, 5]))[0].notes == ()
    whole = write("w.csv", [(f"r{n}", n % 3) for n in range(30)])
    assert load_tasks(configure(path=whole))[0].notes == ()
