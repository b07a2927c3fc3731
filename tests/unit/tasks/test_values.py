"""Numbers and sets of labels are read from whatever files hold, and nothing is taken for something else."""

import json

import numpy as np
import pytest

from sgg_ray.errors import DataError
from sgg_ray.tasks import joined_set, labels_in, load_tasks


def sets(count):
    """Rows with lists of labels: none, a, b, both, in turn."""
    return [
        {"text": f"row {n}", "labels": [["a"], ["b"], ["a", "b"], []][n % 4], "a": n % 4 in (0, 2)}
        for n in range(count)
    ]


def as_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def multi(configure):
    def run(path, **target):
        return configure(
            **{"path": path, "kind": "multi_label", "columns": {"label": "labels"}, "shots": 2, **target}
        )

    return run


def test_lists_text_and_columns_are_the_same_task(multi, write):
    rows = sets(40)
    lists = write("lists.jsonl", as_lines(rows))
    joined = "text,labels\n" + "".join(f"{r['text']},{joined_set(r['labels'])}\n" for r in rows)
    marks = "text,a,b\n" + "".join(
        f"{r['text']},{int('a' in r['labels'])},{'b' in r['labels']}\n" for r in rows
    )
    found = [
        load_tasks(multi(lists))[0],
        load_tasks(multi(write("joined.csv", joined)))[0],
        load_tasks(multi(write("marks.csv", marks), columns={"labels": ["a", "b"]}))[0],
    ]
    for task in found:
        assert task.labels == ("a", "b")
        assert task.train.texts == found[0].train.texts
        np.testing.assert_array_equal(task.train.values, found[0].train.values)
        np.testing.assert_array_equal(task.test.values, found[0].test.values)
        assert task.head == found[0].head == "|multi_label|a|b"


def test_shots_are_drawn_until_every_label_has_enough(multi, write):
    target, _ = load_tasks(multi(write("t.jsonl", as_lines(sets(80))), shots=3))
    of_each = target.train.values.sum(axis=0)
    assert (of_each >= 3).all()
    assert (target.train.values.sum(axis=1) == 0).sum() >= 3  # rows without labels are a group as well
    assert len(target.train) <= 9
    assert target.strata == 1


def test_labels_may_be_listed_and_renamed(multi, write):
    path = write("t.jsonl", as_lines(sets(40)))
    assert load_tasks(multi(path, labels={"second": "b", "first": "a"}))[0].labels == ("second", "first")
    with pytest.raises(DataError, match="holds 'b', which is none of a, c; add them to labels"):
        load_tasks(multi(path, labels=["a", "c"]))


def test_rows_without_a_value_are_told_from_rows_without_labels(multi, write):
    rows = [f"row {n},{('a', 'b', 'a|b', '[]')[n % 4]}" for n in range(40)]
    path = write("t.csv", "\n".join(["text,labels", *rows, "unknown,", "another, "]) + "\n")
    target, _ = load_tasks(multi(path, shots="all"))
    assert "2 rows without labels dropped; write [] for a row that has none of them" in target.notes
    assert "column 'labels': labels are separated by '|'" in target.notes
    assert len(target.train) + len(target.test) == 40


def test_contradictory_sets_are_dropped_and_equal_ones_are_one(multi, write):
    rows = [*sets(40), {"text": "ROW 0", "labels": ["a"]}, {"text": "row 1", "labels": ["a"]}]
    target, _ = load_tasks(multi(write("t.jsonl", as_lines(rows)), shots="all"))
    assert "1 duplicate row dropped" in target.notes
    assert "2 rows of texts with contradictory labels dropped" in target.notes


@pytest.mark.parametrize(
    ("rows", "columns", "line"),
    [
        (
            "text,a,b\nx,1,2\n",
            {"labels": ["a", "b"]},
            "column 'b' of .* holds '2'; a column for each label has 0",
        ),
        ("text,a\nx,1\n", {"labels": ["a"]}, "at least two labels are needed, found a"),
        ("text,labels\nx,a\ny,a\n", {"label": "labels"}, "has 1 different labels, 2 to 100 are expected"),
        ("text,labels\nx,\n", {"label": "labels"}, "different labels|has labels"),
    ],
)
def test_what_is_no_set_of_labels_is_refused(multi, write, rows, columns, line):
    with pytest.raises(DataError, match=line):
        load_tasks(multi(write("t.csv", rows), columns=columns))


def test_lists_without_the_kind_are_refused_with_a_word(configure, write):
    path = write("t.jsonl", as_lines(sets(40)))
    with pytest.raises(DataError, match=r"holds lists or objects; a row has one label.*of kind multi_label"):
        load_tasks(configure(path=path, columns={"label": "labels"}))
    joined = write("t.csv", "text,label\n" + "".join(f"r{n},{('a', 'b', 'a|b')[n % 3]}\n" for n in range(30)))
    with pytest.raises(DataError, match=r"several labels in one value.*add kind: multi_label"):
        load_tasks(configure(path=joined))


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b"), ("a|b", "c"), ("[x]", "y"), ("ü", "'")])
def test_a_set_in_one_text_is_read_again(labels):
    assert labels_in(joined_set(labels), {*labels, "z"}) == set(labels)


def numbers(count):
    return "text,stars\n" + "".join(f"row {n},{n % 9 / 2}\n" for n in range(count))


def test_numbers_are_read(configure, write):
    path = write("t.csv", numbers(60) + "gap,\nROW 3,4.5\n")
    target, _ = load_tasks(configure(path=path, kind="regression", columns={"label": "stars"}, shots=20))
    assert target.labels == ("stars",)
    assert len(target.train) == 20
    assert target.train.values.shape == (20, 1)
    texts = [*target.train.texts, *target.test.texts]
    by_text = dict(zip(texts, [*target.train.values, *target.test.values]))
    assert by_text["row 7"] == 3.5
    assert by_text.get("ROW 3", 3.0) == 3.0  # the mean of 1.5 and 4.5
    assert "1 row without a value dropped" in target.notes
    assert "1 text with different values: the mean is taken" in target.notes


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("text,stars\nx,1\ny,many\n", "holds 'many', which is no number"),
        ("text,stars\nx,1\ny,inf\n", "holds 'inf', which is no number"),
        ('text,stars\nx,1\ny,"1,500"\n', "holds '1,500', which is no number"),
        ("text,stars\nx,\n", "no row of .* has a value in column 'stars'"),
        (
            "text,stars\n" + "".join(f"r{n},2\n" for n in range(20)),
            "at least two rows with different numbers",
        ),
    ],
)
def test_what_is_no_number_is_refused(configure, write, rows, line):
    with pytest.raises(DataError, match=line):
        load_tasks(
            configure(path=write("t.csv", rows), kind="regression", columns={"label": "stars"}, shots=4)
        )


def test_levels_are_in_order(configure, write):
    path = write("t.csv", [(f"r{n}", (10, 9, 2.5)[n % 3]) for n in range(30)])
    target, _ = load_tasks(configure(path=path, kind="ordinal"))
    assert target.labels == ("2.5", "9", "10")
    assert target.strata == 3
    assert target.head == "|ordinal|2.5|9|10"
    words = write("w.csv", [(f"r{n}", ("poor", "fair", "good")[n % 3]) for n in range(30)])
    listed = load_tasks(configure(path=words, kind="ordinal", labels=["poor", "fair", "good"]))[0]
    assert listed.labels == ("poor", "fair", "good")
    with pytest.raises(DataError, match="kind ordinal needs the order of fair, good, poor; list them"):
        load_tasks(configure(path=words, kind="ordinal"))


def test_test_rows_of_a_file_of_their_own(configure, write, multi):
    path, test = write("t.csv", numbers(40)), write("u.csv", "text,stars\nnew,2.25\n")
    own = configure(path=path, kind="regression", columns={"label": "stars"}, shots=10, test={"path": test})
    assert load_tasks(own)[0].test.values.tolist() == [[2.25]]
    few = write("few.jsonl", as_lines([{"text": "new", "labels": ["b"]}]))
    target, _ = load_tasks(multi(write("t.jsonl", as_lines(sets(40))), test={"path": few}))
    assert target.test.values.tolist() == [[0.0, 1.0]]


def test_labels_of_single_tokens_are_refused_with_a_word(multi, configure, write):
    rows = [{"text": f"row {n}", "tokens": ["Ada", str(n)], "labels": ["B-PER", "O"]} for n in range(20)]
    path = write("t.jsonl", as_lines(rows))
    with pytest.raises(DataError, match=r"labels of single tokens \(B-, I-, O\), which are not supported"):
        load_tasks(multi(path))
    with pytest.raises(DataError, match="labels of single tokens are not supported"):
        load_tasks(multi(path, columns={"text": "tokens", "label": "labels"}))
