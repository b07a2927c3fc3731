"""Files that are not what they seem: read as they are meant, or refused with a line that says what they are."""

import json
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from sgg_ray.config import TargetConfig
from sgg_ray.errors import DataError
from sgg_ray.tasks import open_stream
from sgg_ray.tasks.choices import read_choices
from sgg_ray.tasks.files import read_file
from sgg_ray.tasks.guess import guess_task
from sgg_ray.tasks.labels import in_order
from sgg_ray.tasks.read import read_table
from sgg_ray.tasks.values import read_label_sets, read_numbers

ROWS = [["a fine film", "good"], ["a dull film", "bad"], ["fine again", "good"]]
OBJECTS = [dict(zip(("text", "label"), row)) for row in ROWS]
LINES = "".join(f"{text},{label}\n" for text, label in ROWS)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def read(path):
    columns = read_file(Path(path), ("text", "label"), "target.path")
    return columns.frame[["text", "label"]].to_numpy().tolist(), columns.notes


def refused(path, reader=read):
    with pytest.raises(DataError) as caught:
        reader(path)
    return caught.value.problems[0]


def entry(path, **changes):
    return TargetConfig.model_validate({"path": str(path), "shots": 2, **changes})


def labels(path, **changes):
    table = read_table(entry(path, **changes), "target")
    return [table.values[number] for number in table.labels], table.notes


# What a file is, whatever its name says.


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", OLE, "is an old Excel workbook, or one with a password; save it as .xlsx"),
        ("a.xlsx", OLE, "is an old Excel workbook"),
        ("a.csv", POINTER, "is a pointer of Git LFS in place of the file; fetch the file with git lfs pull"),
        ("a.parquet", POINTER, "is a pointer of Git LFS"),
        ("a.csv", b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
        ("a.json", b"<html></html>", "is a web page"),
        ("a.csv", b"%PDF-1.7 ...", "is a PDF document"),
        ("a.csv", b"SQLite format 3\x00" + bytes(100), "is an SQLite database"),
        ("a.csv", b"PAR1\x15\x04", "is a Parquet file; rename it to a.parquet"),
        ("a.jsonl", b"ARROW1\x00\x00", "is an Arrow file; rename it to a.arrow"),
        ("a.xlsx", b"text,label\nx,y\n", "holds text; rename it to a.csv or a.jsonl"),
        ("a.parquet", "text,label\nblé,y\n".encode(), "holds text; rename it to a.csv or a.jsonl"),
    ],
)
def test_what_a_file_is_is_said(write, name, content, said):
    assert f"{name} {said}" in refused(write(name, content))
    assert said in refused(write(name, content), lambda path: open_stream(Path(path), "--data"))


# Encodings.


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_needs_no_mark(write, encoding):
    rows, notes = read(write("a.csv", ("text,label\n" + LINES).encode(encoding)))
    assert (rows, notes) == (ROWS, (f"not UTF-8: read as {encoding.upper()}",))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "отличный фильм"),
        ("koi8-r", "отличный фильм"),
        ("gb18030", "这部电影很好看"),
        ("shift_jis", "この映画は素晴らしいです"),
        ("cp1253", "μια καλή ταινία"),
    ],
)
def test_another_script_is_not_taken_for_western(write, encoding, text):
    content = "text,label\n" + "".join(f"{text} {number},a\n" for number in range(3))
    assert "is not UTF-8, and as Windows-1252 its texts would read" in refused(
        write("a.csv", content.encode(encoding))
    )


def test_english_with_broken_signs_is_english(write):
    """As in tweets that went through two programs which disagreed: runs of broken bytes among English words."""
    row = b"\xd5\xa2_\x8a\xce\x81\xd0@someone: who would want a driverless car, I love to drive,a\n"
    rows, (note, *_) = read(write("a.csv", b"text;label\n" + row.replace(b",a", b";a") * 20))
    assert len(rows) == 20
    assert note.startswith("not UTF-8: read as latin-1")


@pytest.mark.parametrize(
    "text", ["l’été à Noël — “déjà vu”… où ?", "Füße, Öl und Äpfel für 5 €", "¿Qué año? ¡Niñez!"]
)
def test_western_texts_are(write, text):
    file = write("a.csv", ("text;label\n" + f"{text};a\n" * 5).encode("cp1252"))
    rows, (note, _) = read(file)
    assert rows == [[text, "a"]] * 5
    assert note.startswith("not UTF-8: read as cp1252")


# Names of columns.


@pytest.mark.parametrize("header", [" text ,label", "\ufeff\ufefftext,label\u200b", "text,\tlabel"])
def test_names_of_columns_have_no_space_around_them(write, header):
    assert read(write("a.csv", header + "\n" + LINES))[0] == ROWS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            LINES.replace("a fine film", "one of the best films"),
            "is there a line with the names of the columns?",
        ),
        ("text^label\na^b\n", "fields are separated by commas, semicolons, tabs or bars"),
    ],
)
def test_why_a_column_is_not_there(write, content, said):
    assert said in refused(write("a.csv", content), labels)


def test_lines_above_the_names_are_told(write):
    line = refused(write("a.csv", "# our data\ntext,label\n" + LINES))
    assert "if '# our data' is no name of a column, delete the lines above the names" in line


# Values that mean that there is none.


@pytest.mark.parametrize("word", ["NaN", "nan", "<NA>", "NULL", "#N/A", "#REF!"])
def test_a_word_for_no_value_is_no_label(write, word):
    path = write("a.csv", f"text,label\n{LINES}one more,{word}\nand one,\n")
    found, notes = labels(path)
    assert found == ["good", "bad", "good"]
    assert notes[:2] == (
        "1 row without a label dropped",
        f"1 row labelled '{word}', which means 'no value', dropped; list all labels in labels if it is one",
    )
    assert labels(path, labels=["good", "bad", word])[0] == ["good", "bad", "good", word]


@pytest.mark.parametrize("word", ["NA", "N/A", "None"])
def test_a_word_that_may_be_a_label_is_one_and_is_told(write, word):
    path = write("a.csv", f"text,label\n{LINES}one more,{word}\n")
    found, notes = labels(path)
    assert found == ["good", "bad", "good", word]
    assert f"'{word}' (1 row) is taken for a label" in notes[0]
    assert not labels(path, labels=["good", "bad", word])[1]


def test_numbers_have_gaps_and_decimal_commas(write):
    path = write("a.csv", "text;label\na;3,5\nb;-0,25\nc;4\nd;NA\ne;nan\n")
    _, cleaned = read_numbers(entry(path, kind="regression"), "target")
    assert cleaned.rows.values is not None
    assert cleaned.rows.values.tolist() == [[3.5], [-0.25], [4.0]]
    assert "column 'label': numbers are read with decimal commas" in cleaned.notes
    assert "2 rows without a value dropped" in cleaned.notes


@pytest.mark.parametrize("numbers", [["1,200", "3,500"], ["3,5", "1.2"], ["1,2,3", "4"]])
def test_commas_that_may_mean_something_else_are_refused(write, numbers):
    path = write("a.csv", "text;label\n" + "".join(f"text {number};{number}\n" for number in numbers))
    line = refused(path, lambda file: read_numbers(entry(file, kind="regression"), "target"))
    assert "which is no number; kind: regression needs numbers such as 3.5 or 1200" in line


def test_levels_with_decimal_commas_are_ordered_by_size(write):
    order = in_order(("10,0", "2,5", "3"), entry("a.csv", kind="ordinal"), "target")
    assert order == ("2,5", "3", "10,0")


# JSON in other shapes.

FRAME = pd.DataFrame(OBJECTS)


@pytest.mark.parametrize(
    ("content", "how"),
    [
        *((FRAME.to_json(orient=orient), "each entry is a column") for orient in ("columns",)),
        (FRAME.to_json(orient="index"), "each entry is a row"),
        (FRAME.to_json(orient="split"), "rows are those of 'data'"),
        (FRAME.to_json(orient="table"), "rows are those of 'data'"),
        (json.dumps({"version": 1, "rows": OBJECTS}, indent=2), "rows are those of 'rows'"),
        (json.dumps(FRAME.to_dict(orient="list")), "each entry is a column"),
    ],
)
def test_a_table_in_one_object_is_read(write, content, how):
    rows, notes = read(write("a.json", content))
    assert (rows, notes) == (ROWS, (f"one object, not one a row: {how}",))
    stream = open_stream(Path(write("b.json", content)), "--data")
    assert (stream.rows, stream.notes) == (3, notes)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_one_row_stays_a_row(write, name):
    content = json.dumps({"text": "a", "label": "b", "choices": ["c", "d"]})
    assert read(write(name, content)) == ([["a", "b"]], ())
    assert read(write("lines.json", f"{content}\n{content}\n"))[0] == [["a", "b"]] * 2


@pytest.mark.parametrize(
    "content", [json.dumps(OBJECTS[0], indent=1), json.dumps(OBJECTS[0]) + ",", str(OBJECTS[0])]
)
def test_what_is_no_line_of_json_gets_advice(write, content):
    line = refused(write("a.jsonl", content + "\n" + content))
    assert "line 1 is not valid JSON" in line
    assert line.endswith("write one object on each line, or one array of objects")


def test_a_file_of_empty_lines_has_no_rows(write):
    assert refused(write("a.jsonl", "\n\n"), labels).endswith("has no rows; give a file with rows")


# Workbooks.


@pytest.fixture
def workbook(tmp_path):
    def make(fill):
        book = openpyxl.Workbook()
        fill(book)
        book.save(tmp_path / "a.xlsx")
        return tmp_path / "a.xlsx"

    return make


def fill(sheet, rows, header=("text", "label")):
    for row in (header, *rows):
        sheet.append(list(row))


def test_the_sheet_and_the_row_with_the_columns_are_found(workbook):
    def make(book):
        book.active.title = "About"
        for line in ("Our survey", "of 2024", "by the team"):
            book.active.append([line])
        data = book.create_sheet("Data")
        data.append(["Results"])
        data.append([])
        fill(data, ROWS)

    path = workbook(make)
    notes = (
        "only sheet 'Data' is read, not About",
        "rows above row 3 with the names of the columns are left out",
    )
    assert read(path) == (ROWS, notes)
    stream = open_stream(path, "--data", ("text",))
    assert [row["text"] for batch in stream.batches(2) for row in batch.to_pylist()] == [
        row[0] for row in ROWS
    ]
    assert stream.notes == notes
    guess = guess_task(path, "--from")  # which knows no names of columns
    assert (guess.text, guess.label, guess.rows) == (("text",), "label", 3)


@pytest.mark.parametrize("column", [0, 1])
def test_formulas_that_were_never_computed_are_refused(workbook, column):
    rows = [[*row] for row in ROWS]
    rows[1][column] = '="a"&"b"'
    path = workbook(lambda book: fill(book.active, rows))
    place = "AB"[column] + "3"
    line = refused(path)
    assert f"formulas without a stored value in sheet 'Sheet': {place}; open the workbook in Excel" in line
    stream = open_stream(path, "--data")  # of columns that nobody asked for
    assert stream.notes == (f"formulas without a stored value in sheet 'Sheet': {place}, read as empty",)


def test_merged_cells_are_told(workbook):
    def make(book):
        fill(book.active, ROWS)
        book.active.merge_cells("B2:B4")

    rows, notes = read(workbook(make))
    assert [label for _, label in rows] == ["good", None, None]
    assert notes == ("merged cells have a value in the first cell only, the others are empty: B3 and 1 more",)


def test_columns_of_one_name_that_are_not_read_are_no_matter(workbook):
    rows = [[*row, 1, 2] for row in ROWS]
    path = workbook(lambda book: fill(book.active, rows, ("text", "label", "note", "note")))
    assert read(path)[0] == ROWS
    stream = open_stream(path, "--data", ("text",))
    assert stream.schema.names == ["text", "label", "note", "note.1"]
    assert stream.notes == ("columns of the same name get a number: note.1",)
    twice = workbook(lambda book: fill(book.active, ROWS, ("text", "text")))
    assert "has 2 columns of the name 'text'; rename them" in refused(twice)


# What is guessed of them.


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([f"{number},{number % 9}" for number in range(30)], "regression"),
        (["1,5", "2,5", "4"] * 10, "ordinal"),
    ],
)
def test_decimal_commas_are_numbers(write, numbers, kind):
    rows = "".join(f"a text {place};{number}\n" for place, number in enumerate(numbers))
    assert guess_task(Path(write("a.csv", "text;label\n" + rows + "one more;NaN\n")), "--from").kind == kind


def test_a_file_without_rows_or_with_one_label_is_one_line(write, tmp_path):
    parquet.write_table(pa.table({"text": ["a"], "label": ["b"]}).slice(0, 0), tmp_path / "none.parquet")
    guess = lambda path: guess_task(Path(path), "--from")  # noqa: E731
    assert refused(tmp_path / "none.parquet", guess).endswith("has no rows; give a file with rows")
    line = refused(write("one.csv", "text,label\na text,good\nanother,good\n"), guess)
    assert "has only 'good', and at least two labels are needed; name another column with --label" in line


# Parquet and archives.


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": [["a"]], "label": ["b"]}, "column 'text' of .* holds lists or objects"),
        ({"text": [{"t": "a"}], "label": ["b"]}, "column 'text' of .* holds lists or objects"),
        ({"text": ["a"], "label": [["b"]]}, "column 'label' of .* holds lists or objects"),
        ({"text": ["a"], "label": [{"v": "b"}]}, "column 'label' of .* holds lists or objects"),
        ({"text": ["a"], "label": pa.nulls(1)}, "no row of .* has a value in column 'label'"),
    ],
)
def test_nested_columns_are_refused(tmp_path, columns, said):
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=said):
        labels(tmp_path / "a.parquet")


def test_an_archive_of_two_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("one.csv", LINES)
        packed.writestr("two.csv", LINES)
    assert "is an archive of 2 files (one.csv, two.csv); unpack it" in refused(tmp_path / "a.zip")


# Labels and choices of rows.


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a|b", "a;b", "c"], "holds 'a;b', which is several labels; separate labels by the same character"),
        ([{"a": 1}, {"a": 0}], "holds objects; write lists of labels, or texts such as a|b"),
        ([["a", {"b": 1}], ["a"]], "holds objects"),
        ([[["a"], ["b"]], ["c"]], "which is several labels"),
    ],
)
def test_several_labels_are_never_one(write, values, said):
    rows = "".join(json.dumps({"text": f"text {n}", "label": value}) + "\n" for n, value in enumerate(values))
    own = entry(write("a.jsonl", rows), kind="multi_label")
    assert said in refused("", lambda _: read_label_sets(own, "target"))


@pytest.mark.parametrize("value", ['["b", "a"]', "['b', 'a']", "[b, a]", "a, b"])
def test_lists_of_labels_may_be_texts(write, value):
    rows = json.dumps({"text": "one", "label": value}) + '\n{"text": "two", "label": "[]"}\n'
    names, cleaned = read_label_sets(entry(write("a.jsonl", rows), kind="multi_label"), "target")
    assert names == ("a", "b")
    assert cleaned.rows.values is not None
    assert cleaned.rows.values.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    "value", [["x", "y"], '["x", "y"]', "['x', 'y']", {"text": ["x", "y"], "label": ["A", "B"]}]
)
def test_choices_may_be_texts_or_in_an_object(write, value):
    rows = json.dumps({"text": "one", "choices": value, "label": "B"}) + "\n"
    own = entry(write("a.jsonl", rows), kind="multiple_choice", columns={"choices": "choices"})
    labels, cleaned = read_choices(own, "target")
    assert (cleaned.rows.choices, labels) == ((("x", "y"),), ("A", "B"))
    assert cleaned.rows.labels.tolist() == [1]


def test_rows_without_choices_are_said(write):
    rows = json.dumps({"text": "one", "choices": "x, y", "label": 1}) + "\n"
    own = entry(write("a.jsonl", rows), kind="multiple_choice", columns={"choices": "choices"})
    line = refused("", lambda _: read_choices(own, "target"))
    assert "no row of" in line
    assert line.endswith(
        "has two choices or more in choices; name a column for each choice, or one with lists"
    )
