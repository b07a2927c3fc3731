"""Input that cannot be used is one line; input that is only odd is handled and said."""

import numpy as np
import pytest
from reviews import reviews

from sgg_ray.tasks import load_tasks


def test_a_class_with_fewer_rows_than_shots_gives_all_it_has(configure, write):
    rows = [*reviews(80), *[(f"rare {n}", "mixed") for n in range(5)]]
    target, _ = load_tasks(configure(path=write("t.csv", rows), shots=30))
    assert dict(zip(target.labels, np.bincount(target.train.labels).tolist())) == {
        "mixed": 4,
        "negative": 30,
        "positive": 30,
    }
    assert target.notes == ("fewer rows than target.shots 30, all of them used: mixed 4",)


def test_all_shots_are_all_rows_beside_the_test_rows(configure, write):
    rows = [*reviews(80), *[(f"rare {n}", "mixed") for n in range(5)]]
    target, _ = load_tasks(configure(path=write("t.csv", rows), shots="all", test={"fraction": 0.2}))
    assert np.bincount(target.train.labels).tolist() == [4, 32, 32]
    assert sorted((*target.train.texts, *target.test.texts)) == sorted(text for text, _ in rows)
    assert target.notes == ()


def test_a_class_without_rows_is_named(configure, problems, write):
    (line,) = problems(configure(labels=["negative", "positive", "neutral"]))
    assert line.startswith(
        "target.shots: no row of class neutral is left beside the test rows, found negative 16, "
    )
    assert line.endswith("or leave the class out of target.labels")


def test_a_skewed_test_split_is_said(configure, write):
    rows = [(f"row {n}", "rare" if n % 10 == 0 else "usual") for n in range(100)]
    target, _ = load_tasks(configure(path=write("t.csv", rows)))
    assert target.notes == ("90% of the test rows are 'usual'; always predicting it would score as well",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            [("", "negative"), ("  ", "positive")],
            "sources.s.columns.text: no row of {} has a usable text (2 rows with an",
        ),
        (
            [("a", "negative"), ("A", "positive")],
            "sources.s.columns.text: no row of {} has a usable text (2 rows of texts",
        ),
        ([("row 0", "negative")] * 2, "sources.s.labels: column 'label' of {} holds only 'negative'"),
        ("text,label\n", "sources.s.path: {} has no rows; give a file with rows"),
        ("", "sources.s.path: {} is empty"),
    ],
)
def test_an_empty_source_says_why(configure, problems, write, content, expected):
    path = write("s.csv", content)
    (line,) = problems(configure([{"name": "s", "path": path}]))
    assert line.startswith(expected.replace("{}", path))


def test_a_source_that_holds_test_rows_only_is_empty(configure, problems, write):
    rows = [("x", "negative"), ("y", "positive")]
    path = write("s.csv", rows)
    (line,) = problems(configure([{"name": "s", "path": path}], test={"path": write("test.csv", rows)}))
    assert line.startswith(f"sources.s.path: no usable rows are left in {path} (2 rows dropped")


def test_no_test_rows_at_all_is_an_error(configure, problems):
    (line,) = problems(configure(test={"fraction": 0.001}))
    assert line.startswith("target.test: no test rows are left")


def test_the_problems_of_all_tasks_are_reported_at_once(configure, problems, write, tmp_path):
    sources = [
        {"name": "gone", "path": str(tmp_path / "gone.csv")},
        {"name": "fine", "path": write("fine.csv", reviews(4, "fine"))},
        {"name": "columns", "path": write("c.csv", "txt,lbl\na,b\n")},
        {"name": "broken", "path": write("b.jsonl", "{")},
        {"name": "package", "path": "package://absent_package_xyz/a.csv"},
    ]
    lines = problems(configure(sources, labels=["negative", "positive", "neutral"]))
    assert [line.split(": ")[0] for line in lines] == [
        "target.shots",
        "sources.gone.path",
        "sources.columns.columns.text",
        "sources.columns.columns.label",
        "sources.broken.path",
        "sources.package.path",
    ]


def test_odd_rows_are_handled_and_said(configure, write):
    rows = [
        *reviews(40),
        ("", "negative"),
        ("ROW 3", "positive"),
        ("row 4", "positive"),
        ("long " * 9000, "negative"),
    ]
    target, _ = load_tasks(
        configure(path=write("t.csv", "".join(f"{t},{n}\n" for t, n in [("text", "label"), *rows])))
    )
    assert target.notes == (
        "1 row with an empty text dropped",
        "1 duplicate row dropped",
        "2 rows of texts with contradictory labels dropped",
        "1 text of over 20,000 characters kept, cut to train.max_length tokens",
    )


def test_a_test_file_without_a_class_is_said(configure, write):
    target, _ = load_tasks(configure(test={"path": write("test.csv", [("fresh", "positive")])}))
    assert target.notes == ("test: no row of class negative",)
