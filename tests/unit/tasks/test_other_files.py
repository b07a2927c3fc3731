"""Packed files, workbooks, JSON arrays and Arrow files say the same as the plain file."""

import bz2
import datetime
import gzip
import json
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from sgg_ray.errors import DataError
from sgg_ray.tasks import open_stream
from sgg_ray.tasks.files import read_file

ROWS = [["Zoë, and\nmore", "a"], ["plain", "b"], ["\U0001f600", "a"]]


def read(path):
    columns = read_file(Path(path), ("text", "label"), "target.path")
    return columns.frame[["text", "label"]].to_numpy().tolist(), columns.notes


def both(path):
    """The rows and notes that a task gets, if a stream gets the same."""
    rows, notes = read(path)
    stream = open_stream(Path(path), "--data")
    assert [[row["text"], row["label"]] for batch in stream.batches(2) for row in batch.to_pylist()] == rows
    assert (stream.rows, stream.notes) == (len(rows), notes)
    return rows, notes


def refused(path):
    with pytest.raises(DataError) as caught:
        read(path)
    (line,) = caught.value.problems
    assert line.startswith("target.path: ")
    return line


@pytest.fixture
def plain(write):
    return Path(write("rows.csv", [tuple(row) for row in ROWS])).read_bytes()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in files.items():
            packed.writestr(name.replace("__", "."), data)
    return path


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_packed_files_are_unpacked(write, plain, ending, suffix):
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS).encode()
    content = plain if suffix == "csv" else lines
    assert both(write(f"a.{suffix}.{ending}", PACKERS[ending](content))) == (ROWS, ())


@pytest.mark.parametrize("name", ["a.zip", "a.csv.zip"])
def test_an_archive_of_one_file_is_that_file(tmp_path, plain, name):
    archive(tmp_path / name, rows__csv=plain)
    assert both(tmp_path / name) == (ROWS, ())


def test_an_archive_of_several_files_is_refused_with_their_names(tmp_path, plain):
    assert "is an archive of 2 files (a.csv, b.csv)" in refused(
        archive(tmp_path / "a.zip", a__csv=plain, b__csv=plain)
    )
    assert "found '.parquet'; unpack it" in refused(archive(tmp_path / "b.zip", a__parquet=b"PAR1"))


def test_a_packed_file_without_a_telling_name_is_said(write, plain):
    rows, notes = both(write("d.csv", gzip.compress(plain)))
    assert rows == ROWS
    assert notes == ("d.csv is compressed (gzip): unpacked while it is read",)


@pytest.mark.parametrize("ending", PACKERS)
def test_a_torn_packed_file_is_one_line(write, plain, ending):
    packed = PACKERS[ending](plain * 50)
    assert "cannot be unpacked (" in refused(write(f"a.csv.{ending}", packed[: len(packed) // 2]))


def test_packed_texts_have_encodings_too(write):
    rows, notes = both(write("a.csv.gz", gzip.compress("text;label\ncafé;x\n".encode("cp1252"))))
    assert rows == [["café", "x"]]
    assert len(notes) == 2


@pytest.fixture
def workbook(tmp_path):
    import openpyxl

    def run(*sheets, name="a.xlsx"):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for number, rows in enumerate(sheets):
            sheet = book.create_sheet(f"Sheet{number}")
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / name)
        return tmp_path / name

    return run


def test_a_workbook_is_read_from_its_first_sheet_with_rows(workbook):
    assert both(workbook([["text", "label"], *ROWS])) == (ROWS, ())
    rows, notes = both(workbook([], [["text", "label"], *ROWS], [["other"]]))
    assert rows == ROWS
    assert notes == ("only sheet 'Sheet1' is read, not Sheet0, Sheet2",)


def test_cells_keep_whole_numbers_gaps_and_dates(workbook):
    day = datetime.datetime(2024, 5, 17)
    path = workbook(
        [["text", "label", None], ["a", 1, day], [None, 0, None], [None, None, None], ["b", 1, day]]
    )
    columns = read_file(path, ("text", "label", "Unnamed: 2"), "x")
    assert columns.frame["label"].tolist() == [1, 0, 1]
    assert columns.frame["text"].tolist() == ["a", None, "b"]
    assert columns.frame["Unnamed: 2"].tolist() == ["2024-05-17T00:00:00", None, "2024-05-17T00:00:00"]


def test_workbooks_that_cannot_be_read_are_one_line(workbook, write):
    assert "has no rows; give a workbook with rows" in refused(workbook([]))
    assert "has 2 columns of the name 'text'" in refused(workbook([["text", "text"], ["a", "b"]]))
    path = workbook([["text", "label"], *ROWS])
    assert "is an Excel workbook; rename it to b.xlsx" in refused(write("b.csv", path.read_bytes()))


def test_workbooks_without_openpyxl_come_with_the_command(workbook, monkeypatch):
    path = workbook([["text", "label"], *ROWS])
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    assert 'pip install "sgg-ray[excel]"' in refused(path)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_read_like_lines_of_them(write, name, indent):
    rows = [{"text": text, "label": label} for text, label in ROWS]
    assert both(write(name, json.dumps(rows, indent=indent))) == (ROWS, ())


def test_lines_of_objects_may_be_called_json(write):
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    assert both(write("a.json", "\n".join(lines))) == (ROWS, ())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("suffix", ["arrow", "feather"])
def test_arrow_files_of_both_formats(tmp_path, stream, suffix):
    table = pa.table({"text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS], "n": [1, 2, 3]})
    open_writer = pa.ipc.new_stream if stream else pa.ipc.new_file
    path = tmp_path / f"a.{suffix}"
    with pa.OSFile(str(path), "wb") as sink, open_writer(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert both(path) == (ROWS, ())
    assert "is no readable Arrow file" in refused(_cut(path))


def _cut(path: Path) -> Path:
    torn = path.with_name(f"torn{path.suffix}")
    torn.write_bytes(path.read_bytes()[:40])
    return torn
