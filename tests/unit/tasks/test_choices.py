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
        DataError, match=r"holds 'left', which is none of 0, 1; list in target\.labels what it says"
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


def test_different_numbers_of_choices_are_refused_and_empty_ones_dropped(choices, write):
    extra = json.dumps({"premise": "x", "question": "y", "choices": ["a", "b", "c"], "label": 0}) + "\n"
    with pytest.raises(DataError, match=r"has rows with 2 \(40 rows\), 3 \(1 row\)"):
        load_tasks(choices(write("a.jsonl", lines(40, lists=True) + extra), "choices"))
    gap = json.dumps({"premise": "x", "question": "y", "choices": ["a", " "], "label": 0}) + "\n"
    target, _ = load_tasks(choices(write("b.jsonl", lines(40, lists=True) + gap), "choices"))
    assert target.notes[0] == "1 row without a label, or with an empty choice, dropped"
