"""Input that cannot be used is one line; input that is only odd is handled and said."""

import pytest

from sgg_ray.tasks import load_tasks


def reviews(number, prefix="row", labels=("negative", "positive")):
    return [(f"{prefix} {position}", labels[position % len(labels)]) for position in range(number)]


def test_fewer_rows_than_shots_names_each_short_class(configure, problems, write):
    rows = [*reviews(40), ("lonely", "mixed")]
    (line,) = problems(configure(path=write("t.csv", rows), shots=30))
    assert line.startswith("target.shots: 30 rows of each class are needed beside the test rows, found ")
    assert "found mixed 1, negative 16, positive 16; " in line
    assert line.endswith("lower target.shots or target.test.fraction, or add rows")


def test_a_class_without_rows_is_named(configure, problems):
    (line,) = problems(configure(labels=["negative", "positive", "neutral"]))
    assert "found neutral 0" in line


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
        ("text,label\n", "sources.s.path: {} has no rows"),
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
    lines = problems(configure(sources, shots=1000))
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
