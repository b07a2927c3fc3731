"""CSV files as people have them: no row is lost, joined or torn without a word."""

import io
import random
from pathlib import Path

import pytest

from sgg_ray.errors import DataError
from sgg_ray.tasks import open_stream
from sgg_ray.tasks.files import read_file


def read(path):
    columns = read_file(Path(path), ("text", "label"), "target.path")
    return columns.frame[["text", "label"]].to_numpy().tolist(), columns.notes


def streamed(path):
    stream = open_stream(Path(path), "--data")
    return [row for batch in stream.batches(7) for row in batch.to_pylist()], stream


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_found_and_said(write, mark, name):
    path = write("a.csv", f"text{mark}label\nein guter, warmer Film{mark}positive\nschlecht{mark}negative\n")
    rows, notes = read(path)
    assert rows == [["ein guter, warmer Film", "positive"], ["schlecht", "negative"]]
    assert notes == (f"fields are separated by {name}",)
    assert streamed(path)[0][0] == {"text": "ein guter, warmer Film", "label": "positive"}


def test_tabs_are_what_a_tsv_file_promises_and_commas_are_found_in_one(write):
    assert read(write("a.tsv", "text\tlabel\na good, warm film\tx\n")) == ([["a good, warm film", "x"]], ())
    assert read(write("b.tsv", "text,label\na,x\n")) == (
        [["a", "x"]],
        ("fields are separated by commas",),
    )


def test_the_separator_is_the_one_that_the_rows_agree_with(write):
    path = write("a.csv", "text;label;note, free\na, b, c;x;\nd;y;e, f\n")
    assert read(path)[0] == [["a, b, c", "x"], ["d", "y"]]
    path = write("b.csv", "text,label,a|b\none|two|three,x,\nfour,y,\n")
    assert read(path)[0] == [["one|two|three", "x"], ["four", "y"]]


def test_the_line_that_excel_writes_before_the_header_names_the_separator(write):
    assert read(write("a.csv", "sep=;\ntext;label\na, b;x\n"))[0] == [["a, b", "x"]]


def test_spaces_behind_separators_and_empty_fields_at_the_end_are_no_content(write):
    assert read(write("a.csv", 'text, label\n"a, b", x\n'))[0] == [["a, b", "x"]]
    assert read(write("b.csv", "text;label;;\na;x;;\nb;y\n"))[0] == [["a", "x"], ["b", "y"]]
    assert read(write("c.csv", 'text,label\n"a, b" ,x\nc,y\n')) == ([["a, b", "x"], ["c", "y"]], ())


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("label_first", [False, True])
def test_a_bare_carriage_return_is_part_of_its_text(write, quoted, end, label_first):
    """pandas.to_csv writes them bare before Python 3.11.9, and pandas.read_csv takes them for ends of rows."""
    texts = [f"rose soil no{n}" + ("\rhedge \r pond" if n % 5 == 4 else "") for n in range(100)]
    rows = [[text, ("garden", "kitchen")[n % 2]] for n, text in enumerate(texts)]
    shown = [[f'"{text}"' if quoted else text, label] for text, label in rows]
    lines = [["text", "label"], *shown]
    content = "".join(",".join(line[::-1] if label_first else line) + end for line in lines)
    path = write("a.csv", content)
    assert read(path) == (rows, ())
    assert [[row["text"], row["label"]] for row in streamed(path)[0]] == rows


def test_files_whose_lines_end_in_a_carriage_return_alone(write):
    assert read(write("a.csv", 'text,label\ra,x\r"b\rc",y\rd,x\r'))[0] == [
        ["a", "x"],
        ["b\rc", "y"],
        ["d", "x"],
    ]


def test_line_ends_may_differ_from_row_to_row(write):
    assert read(write("a.csv", "text,label\na,x\r\nb,y\n\r\nc,x\r\n"))[0] == [
        ["a", "x"],
        ["b", "y"],
        ["c", "x"],
    ]


def test_stray_quotes_join_no_rows(write):
    lines = [f"rose soil no{n},{('garden', 'kitchen')[n % 2]}" for n in range(60)]
    lines[9] = '"' + lines[9]
    lines[39] = '"' + lines[39]
    rows, notes = read(write("a.csv", "text,label\n" + "\n".join(lines) + "\n"))
    assert len(rows) == 60
    assert rows[9] == ['"rose soil no9', "kitchen"]
    assert rows[39] == ['"rose soil no39', "kitchen"]
    assert rows[10] == ["rose soil no10", "garden"]
    assert notes == ("line 11 and 1 more: an unclosed quote is read as a character",)


def test_a_stray_quote_at_the_end_and_words_behind_a_quote_stay(write):
    path = write("a.csv", 'text,label\n"Great" film,x\n"fine, really",y\n"never closed,x\nlast,y\n')
    rows, notes = read(path)
    assert rows == [['"Great" film', "x"], ["fine, really", "y"], ['"never closed', "x"], ["last", "y"]]
    assert notes == ("line 2 and 1 more: an unclosed quote is read as a character",)
    assert [row["text"] for row in streamed(path)[0]] == [row[0] for row in rows]
    assert streamed(path)[1].notes == notes


def test_a_text_that_holds_rows_is_said(write):
    """Both quotes stand where the standard allows them, but what is between them is five rows."""
    lines = [f"no{n},x" for n in range(8)]
    lines[1] = '"' + lines[1]
    lines[6] = 'a 12",y'
    rows, notes = read(write("a.csv", "text,label\n" + "\n".join(lines) + "\n"))
    assert len(rows) == 3
    assert notes == ("line 3: one text spans 6 lines that look like rows; is a quote not closed?",)
    poem = write("b.csv", 'text,label\n"roses\nare red,\nviolets\nare blue",x\n')
    assert read(poem) == ([["roses\nare red,\nviolets\nare blue", "x"]], ())


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (r'"he \"so\" said"', 'he "so" said'),
        (r'"\"so\", he"', '"so", he'),
        (r'"he said \"so\""', 'he said "so"'),
        (r'"C:\new and \"so\" on"', r'C:\new and "so" on'),
    ],
)
def test_quotes_behind_backslashes_are_quotes(write, field, text):
    rows, notes = read(write("a.csv", f'text,label\n{field},x\n"\\"so\\" it",y\nplain \\ here,y\n'))
    assert rows == [[text, "x"], ['"so" it', "y"], ["plain \\ here", "y"]]
    assert notes == ('quotes are written as \\": read as quotes',)


def test_a_backslash_at_the_end_of_a_field_is_no_escape(write):
    path = write("a.csv", 'text,label\n"in C:\\",x\n"he ""so"" said",y\n')
    assert read(path) == ([["in C:\\", "x"], ['he "so" said', "y"]], ())


def test_rows_with_fields_missing_are_said_and_with_too_many_refused(write):
    rows, notes = read(write("a.csv", "text,label\na,x\nb\nc\nd,y\n"))
    assert rows == [["a", "x"], ["b", None], ["c", None], ["d", "y"]]
    assert notes == ("line 3 and 1 more: fewer fields than the header, taken for missing values",)
    with pytest.raises(DataError) as caught:
        read(write("b.csv", "text,label\na,x\nbad, really,y\nc,x\n"))
    assert caught.value.problems[0].endswith(
        "b.csv is not valid CSV (line 3 has 3 fields, expected 2: 'bad, really,y'; 1 row before it could be read); "
        "put texts that hold ',' in quotes"
    )


def test_whatever_the_standard_allows_comes_back_as_it_was(write):
    import csv

    random.seed(3)
    marks = 'ab ,;"\n\r\\é'
    rows = [["".join(random.choices(marks, k=9)) + ".", "xy"[n % 2]] for n in range(500)]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["text", "label"], *rows])
    found, notes = read(write("a.csv", text.getvalue()))
    assert found == rows
    assert not [note for note in notes if "quote" in note]


def test_columns_without_a_name_or_with_the_same_one_are_kept_in_a_stream(write):
    rows, stream = streamed(write("a.csv", ",text\n0,a\n1,b\n"))
    assert stream.schema.names == ["Unnamed: 0", "text"]
    assert rows[1] == {"Unnamed: 0": "1", "text": "b"}
    with pytest.raises(DataError, match="2 columns of the name 'id'"):
        open_stream(Path(write("b.csv", "id,id,text\n0,1,a\n")), "--data")


def test_very_long_fields_are_read(write):
    assert len(read(write("a.csv", f"text,label\n{'x' * 300_000},y\n"))[0][0][0]) == 300_000
