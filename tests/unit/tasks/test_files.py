import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sgg_ray.errors import DataError
from sgg_ray.tasks.encoding import find_encoding
from sgg_ray.tasks.files import read_file


def read(path, *wanted):
    columns = read_file(Path(path), wanted or ("text", "label"), "target.path")
    return columns.frame, columns


def refused(path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    (line,) = caught.value.problems
    assert line.startswith("target.path: ")
    assert "\n" not in line
    return line


def test_csv_fields_are_read_as_they_stand(write):
    file = write("a.csv", 'text,label\nNA,007\nnull,1.50\n"a, ""b""\nc",1\n,2\n')
    frame, _ = read(file)
    assert frame["text"].fillna("").tolist() == ["NA", "null", 'a, "b"\nc', ""]
    assert frame["label"].tolist() == ["007", "1.50", "1", "2"]


def test_jsonl_keeps_types_and_gaps(write):
    frame, columns = read(write("a.jsonl", '{"text": "a", "label": 1}\n\n{"text": null, "more": 2}\r\n'))
    assert frame["label"].tolist() == [1, None]
    assert frame["text"].tolist() == ["a", None]
    assert columns.names == ("text", "label", "more")


def test_parquet_reads_the_wanted_columns_only(tmp_path):
    import pandas as pd

    pd.DataFrame({"text": ["a"], "label": [1], "vector": [[1, 2]]}).to_parquet(tmp_path / "a.parquet")
    frame, columns = read(tmp_path / "a.parquet")
    assert list(frame.columns) == ["text", "label"]
    assert columns.names == ("text", "label", "vector")


def test_all_three_kinds_say_the_same(write, tmp_path):
    import pandas as pd

    rows = [("Zoë\u2028x", "a"), ("\U0001f600 ,;\"'", "b"), ("plain", "a")]
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(tmp_path / "r.parquet")
    found = [
        read(path)[0].to_numpy().tolist()
        for path in (write("r.csv", rows), write("r.jsonl", rows), tmp_path / "r.parquet")
    ]
    assert found[0] == found[1] == found[2] == [list(row) for row in rows]


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("cp1252", "cp1252"),
        ("latin-1", "cp1252"),  # the same bytes for these letters
        ("utf-16", "UTF-16"),
        ("utf-32", "UTF-32"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_usual_encodings_are_recognised(write, encoding, note, suffix):
    lines = {"csv": "text,label\ncafé naïve,à\n", "jsonl": '{"text": "café naïve", "label": "à"}\n'}
    frame, columns = read(write(f"a.{suffix}", lines[suffix].encode(encoding)))
    assert frame.to_numpy().tolist() == [["café naïve", "à"]]
    assert all(note in text for text in columns.notes) if note else columns.notes == ()
    assert len(columns.notes) == (note is not None)


def test_bytes_that_no_windows_page_has_are_read_as_latin_1(write):
    file = write("a.csv", b"text,label\ncaf\xe9 \x81,a\n")
    assert find_encoding(Path(file), "x")[0] == "latin-1"
    assert read(file)[0]["text"].tolist() == ["café \x81"]


@pytest.mark.parametrize("torn", [b"\xe2\x82", b"\xff", b"\xc3"])
def test_a_torn_character_does_not_change_how_the_rest_is_read(write, torn):
    file = write("a.csv", "text,label\ncafé über naïve,a\n".encode() + b"torn " + torn + b" here,b\n")
    frame, columns = read(file)
    assert frame["text"][0] == "café über naïve"
    assert frame["text"][1].startswith("torn ")
    assert columns.notes == ("1 character that is not UTF-8 replaced",)


def test_a_character_on_the_edge_of_a_chunk_is_whole(write, monkeypatch):
    monkeypatch.setattr("sgg_ray.tasks.encoding.CHUNK", 3)
    assert find_encoding(Path(write("a.csv", "xé€\U0001f600é")), "x") == ("utf-8-sig", ())


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.csv",
            "text,label\na,b\nc,d,e\n",
            "(line 3 has 3 fields, expected 2: 'c,d,e'; 1 row before it could be read); put texts that hold ','",
        ),
        ("a.csv", "text,label\na,b,c\nd,e,f\n", "line 2 has 3 fields, expected 2: 'a,b,c'; 0 rows before it"),
        ("a.csv", "", "is empty; give a file with rows"),
        ("a.csv", "\n\n", "is not valid CSV"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is not valid JSON"),
        ("a.jsonl", '[{"text": "a"}]\n["b"]\n', "line 1 must be an object {...}, found [{"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "1 row before it could be read"),
        ("a.json", '[{"text": "a"},\n "b"]\n', 'entry 2 of its array must be an object {...}, found "b"'),
        ("a.json", '[{"text": "a"},\n {"text": ]\n', "line 2 is not valid JSON"),
        ("a.jsonl", '\n"a"\n', 'line 2 must be an object {...}, found "a"'),
        ("a.jsonl", "[" * 100_000, "line 1 is not valid JSON (nested too deeply"),
        ("a.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", "is no readable Parquet file"),
        ("a.arrow", "text,label\na,b\n", "is no readable Arrow file"),
        ("a.xlsx", b"PK\x03\x04" + b"\0" * 40, "is no readable Excel workbook"),
        (
            "a.txt",
            "x",
            "is no .csv, .tsv, .jsonl, .json, .ndjson, .parquet, .arrow, .feather, .xlsx file; convert it",
        ),
        ("a", "x", ".xlsx file; convert it"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_one_line(write, name, content, expected):
    assert expected in refused(write(name, content))


def test_files_that_cannot_be_opened_are_one_line(tmp_path, monkeypatch):
    assert "absent.csv does not exist" in refused(tmp_path / "absent.csv")
    assert "is a folder; give a file" in refused(tmp_path)
    assert "cannot be read (File name too long)" in refused(tmp_path / ("x" * 300 + ".csv"))

    def closed(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.csv").write_text("text,label\n")
    monkeypatch.setattr(Path, "open", closed)
    assert "cannot be read (Permission denied)" in refused(tmp_path / "a.csv")


def test_upper_case_suffixes_are_read(write):
    assert read(write("A.CSV", "text,label\na,b\n"))[0]["text"].tolist() == ["a"]


def test_null_characters_do_not_cut_a_text(write):
    assert read(write("a.csv", "text,label\na\0b,c\n"))[0]["label"].tolist() == ["c"]
    assert read(write("a.jsonl", json.dumps({"text": "a\0b", "label": 1})))[0]["text"].tolist() == ["a\0b"]


def test_a_wanted_column_that_is_there_twice_is_refused(write, tmp_path):
    assert refused(write("a.csv", "text,text,label\na,b,c\n")).endswith(
        "a.csv has 2 columns of the name 'text'; rename them"
    )
    arrays = [pyarrow.array(["a"])] * 3
    table = pyarrow.Table.from_arrays(arrays, names=["text", "label", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert refused(tmp_path / "a.parquet").endswith("has 2 columns of the name 'label'; rename them")
    frame, _ = read(write("b.csv", "text,label,id,id\na,b,c,d\n"))
    assert frame["text"].tolist() == ["a"]
