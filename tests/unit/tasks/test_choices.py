"""Choices of each row are read from columns or lists, with whatever says which is right."""

import json

import pytest

from sgg_ray.errors import DataError
from sgg_ray.tasks import load_tasks


def lines(count, label=lambda n: n % 2, lists=False):
    rows = []
    for n in range(count):
        own = [f"one {n}", f"two {n}"]
        row = {"premise": f"text {n}", "question": "why", "label": label(n)}
        rows.append({**row, **({"choices": own} if lists else {"choice1": own[0], "choice2": own[1]})})
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def choices(configure):
    def run(path, choices=("choice1", "choice2"), **target):
        columns = {
            "text": ["premise", "question"],
            "choices": choices if isinstance(choices, str) else list(choices),
        }
        return configure(
            **{"path": path, "kind": "multiple_choice", "columns": columns, "shots": 10, **target}
        )

    return run


def test_columns_and_lists_are_the_same_task(choices, write):
    one = load_tasks(choices(write("a.jsonl", lines(40))))[0]
    two = load_tasks(choices(write("b.jsonl", lines(40, lists=True)), "choices"))[0]
    for task in (one, two):
        assert task.labels == ("0", "1")
        assert (len(task.train), len(task.test)) == (10, 8)
        assert task.train.choices == one.train.choices
        row = int(task.train.texts[0][0].split()[1])
        assert task.train.choices[0] == (f"one {row}", f"two {row}")
        assert task.train.labels[0] == row % 2
        assert task.inputs == ("premise", "question", "choice 0", "choice 1")


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        (lambda n: n % 2 + 1, ("1", "2")),
        (lambda n: "AB"[n % 2], ("A", "B")),
        (lambda n: "ab"[n % 2], ("a", "b")),
        (lambda n: ("choice1", "choice2")[n % 2], ("choice1", "choice2")),
    ],
)
def test_what_the_label_column_says_is_found(choices, write, said, labels):
    assert load_tasks(choices(write("a.jsonl", lines(40, said))))[0].labels == labels


def test_other_words_are_listed(choices, write):
    path = write("a.jsonl", lines(40, lambda n: ("left", "right")[n % 2]))
    assert load_tasks(choices(path, labels=["right", "left"]))[0].labels == ("right", "left")
    with pytest.raises(
        DataError, match=r"holds 'left' in row 1, which is none of 0, 1; list in target\.labels what it says"
    ):
        load_tasks(choices(path))


def test_the_same_text_with_other_choices_is_another_row(choices, write):
    rows = [
        {"premise": "the same", "question": "why", "choice1": f"a {n}", "choice2": f"b {n}", "label": n % 2}
        for n in range(40)
    ]
    target, _ = load_tasks(
        choices(write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)), shots="all")
    )
    assert len(target.train) + len(target.test) == 40


def uneven(count, label):
    """Rows with two, three and four choices in turn."""
    rows = [
        {"premise": f"text {n}", "question": "why", "choices": [f"{n} {place}" for place in range(2 + n % 3)]}
        for n in range(count)
    ]
    return [{**row, "label": label(n, len(row["choices"]))} for n, row in enumerate(rows)]


def as_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_rows_have_different_numbers_of_choices(choices, write):
    rows = uneven(40, lambda n, count: n % count)
    target, _ = load_tasks(choices(write("a.jsonl", as_lines(rows)), "choices"))
    assert target.labels == ("0", "1", "2", "3")
    for text, own, label in zip(target.train.texts, target.train.choices, target.train.labels):
        row = rows[int(text[0].split()[1])]
        assert list(own) == row["choices"]
        assert label == row["label"]
    wide = [{**row, **{f"choice{n}": text for n, text in enumerate(row.pop("choices"))}} for row in rows]
    names = [f"choice{n}" for n in range(4)]
    table = "premise,question,label," + ",".join(names) + "\n"
    table += "".join(
        ",".join(str(row.get(name, "")) for name in table.strip().split(",")) + "\n" for row in wide
    )
    same, _ = load_tasks(choices(write("a.csv", table), names))
    assert (same.labels, same.train.choices) == (target.labels, target.train.choices)


def test_numbers_begin_so_that_each_label_is_a_choice_of_its_row(choices, write):
    last = as_lines(uneven(40, lambda n, count: count if n else 1))  # from 1 to 4, never 0
    assert load_tasks(choices(write("a.jsonl", last), "choices"))[0].labels == ("1", "2", "3", "4")
    rows = uneven(40, lambda n, count: n % 2)
    rows[6]["label"] = 2  # of two choices
    with pytest.raises(DataError, match=r"holds '2' in row 7, which has 2 choices, 0, 1; mend the row"):
        load_tasks(choices(write("b.jsonl", as_lines(rows)), "choices"))


def test_test_rows_with_more_choices_than_labels_are_named(choices, write):
    more = json.dumps({"premise": "x", "question": "y", "choices": ["a", "b", "c"], "label": 0}) + "\n"
    path, test = write("a.jsonl", lines(40, lists=True)), write("t.jsonl", more)
    with pytest.raises(
        DataError, match=r"row 1 of .*t\.jsonl has 3 choices, more than the labels 0, 1; list in"
    ):
        load_tasks(choices(path, "choices", test={"path": test}))
    target, _ = load_tasks(choices(path, "choices", test={"path": test}, labels=[0, 1, 2]))
    assert target.test.choices == (("a", "b", "c"),)


def test_rows_with_an_empty_choice_are_dropped(choices, write):
    gap = json.dumps({"premise": "x", "question": "y", "choices": ["a", " "], "label": 0}) + "\n"
    target, _ = load_tasks(choices(write("b.jsonl", lines(40, lists=True) + gap), "choices"))
    assert target.notes[0] == "1 row without a label, with an empty choice or with less than two, dropped"
