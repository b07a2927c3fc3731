"""Files of every kind go in, the same rows with predictions come out, and nothing half-done is ever left."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import toy

from sgg_ray.artifacts import open_run
from sgg_ray.errors import ConfigError, DataError
from sgg_ray.models import write_calibration
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.prediction import Predictor

ADDED = ["predicted", "p_negative", "p_positive", "confidence"]


class Heard(NullListener):
    def __init__(self):
        self.notes: list[str] = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def rows():
    return [{"id": f"00{number}", **row} for number, row in enumerate(toy.sentences(30, seed=11))]


@pytest.fixture
def source(tmp_path, rows):
    """Write the rows as a file of the given name."""

    def write(name, rows=rows):
        path, frame = tmp_path / name, pd.DataFrame(rows)
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        elif path.suffix == ".parquet":
            frame.to_parquet(path)
        else:
            toy.write_rows(path, rows)
        return path

    return write


def read(path):
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"id": str})
    return (
        pd.read_parquet(path)
        if path.suffix == ".parquet"
        else pd.read_json(path, lines=True, dtype={"id": str})
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("out", [".csv", ".jsonl", ".parquet"])
def test_every_format_keeps_all_columns_and_rows(finished_run, source, rows, tmp_path, suffix, out):
    result = predict(finished_run, source(f"in{suffix}"), tmp_path / f"deep/out{out}")
    frame = read(result.path)
    assert list(frame.columns) == ["id", "text", "label", *ADDED]
    assert frame[["id", "text", "label"]].to_dict("records") == rows
    expected = Predictor(finished_run / "model").predict([row["text"] for row in rows])
    assert list(frame.predicted) == list(expected.predicted)
    np.testing.assert_allclose(frame[ADDED[1:]], expected[ADDED[1:]], atol=1e-6)


def test_rows_come_and_go_in_parts(finished_run, source, tmp_path, monkeypatch):
    """What is in memory does not depend on the size of the file."""
    sizes = []
    whole = predict(finished_run, source("in.jsonl"), tmp_path / "whole.csv")
    monkeypatch.setattr("sgg_ray.orchestration.predict.predict_driver.ROWS", 7)
    monkeypatch.setattr("sgg_ray.tasks.stream.SCAN", 7)
    add = type(whole.tally).add
    monkeypatch.setattr(
        type(whole.tally), "add", lambda tally, table: (sizes.append(table.num_rows), add(tally, table))
    )
    parts = predict(finished_run, source("in.jsonl"), tmp_path / "parts.csv")
    assert sizes == [7, 7, 7, 7, 2]
    left, right = (pd.read_csv(result.path) for result in (whole, parts))
    pd.testing.assert_frame_equal(left, right, atol=1e-6)
    assert parts.tally.to_dict()["metrics"]["confusion"] == whole.tally.to_dict()["metrics"]["confusion"]


def test_metrics_are_those_of_the_written_rows(finished_run, source, tmp_path):
    result = predict(finished_run, source("in.csv"), tmp_path / "out.csv")
    frame, found = read(result.path), result.to_dict()
    assert found["metrics"]["accuracy"] == pytest.approx((frame.label == frame.predicted).mean())
    assert found["metrics"]["rows"] == found["rows"] == 30
    table = pd.crosstab(frame.label, frame.predicted).reindex(columns=["negative", "positive"], fill_value=0)
    assert found["metrics"]["confusion"] == table.to_numpy().tolist()
    assert found["predicted"] == {name: int((frame.predicted == name).sum()) for name in found["predicted"]}
    assert 0 <= found["metrics"]["ece"] <= 1


def test_rows_that_the_model_was_trained_on_are_told(finished_run, source, tmp_path):
    own, heard = open_run(finished_run).config.target.path, Heard()
    predict(finished_run, own, tmp_path / "own.csv", heard)
    assert sum("contains rows that the model was trained on" in note for note in heard.notes) == 1
    predict(finished_run, source("in.csv"), tmp_path / "new.csv", heard := Heard())
    assert not any("trained on" in note for note in heard.notes)


def test_without_labels_there_are_no_metrics(finished_run, source, rows, tmp_path):
    unlabelled = [{"text": row["text"]} for row in rows]
    result = predict(finished_run, source("in.jsonl", unlabelled), tmp_path / "out.parquet")
    assert result.to_dict()["metrics"] is None
    assert pyarrow.parquet.read_schema(result.path).names == ["text", *ADDED]


def test_rows_without_a_text_or_a_known_label(finished_run, source, rows, tmp_path):
    odd = [
        {"text": "", "label": "positive"},
        {"text": None, "label": "negative"},
        {"text": "good1 good2", "label": "lukewarm"},
        {"text": "good1 good2", "label": None},
        rows[0],
    ]
    result = predict(finished_run, source("in.jsonl", odd), tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in result.path.read_text().splitlines()]
    assert [line["predicted"] is None for line in lines] == [True, True, False, False, False]
    assert lines[0]["confidence"] is None
    assert lines[0]["text"] == ""
    found = result.to_dict()
    assert (found["rows"], found["without_text"], found["metrics"]["rows"]) == (5, 2, 1)


def test_other_columns_can_be_named(finished_run, source, rows, tmp_path):
    other = [{"body": row["text"], "topic": row["label"]} for row in rows]
    path = source("in.csv", other)
    with pytest.raises(DataError, match=r"--text: column 'text' is not in .* it has: body, topic"):
        predict(finished_run, path, tmp_path / "out.csv")
    with pytest.raises(DataError, match=r"--label: column 'topics' is not in .* did you mean 'topic'"):
        predict(finished_run, path, tmp_path / "out.csv", text="body", label="topics")
    result = predict(finished_run, path, tmp_path / "out.csv", text="body", label="topic")
    assert result.to_dict()["metrics"]["rows"] == 30


def test_a_header_alone_is_a_result_without_rows(finished_run, tmp_path):
    (tmp_path / "in.csv").write_text("text,id\n")
    for out in ("out.csv", "out.parquet"):
        result = predict(finished_run, tmp_path / "in.csv", tmp_path / out)
        assert result.to_dict()["rows"] == 0
        assert list(read(result.path).columns) == ["text", "id", *ADDED]


BROKEN = {
    "empty.csv": ("", "is empty; give a file with rows"),
    "names.csv": ("\n\n", "it has no line with names of columns"),
    "wide.csv": ("text,n\na,1\nb,2,3\n", "line 3 has 3 fields, expected 2"),
    "torn.jsonl": ('{"text": "a"}\n{"text": ', "line 2 is not valid JSON"),
    "torn.parquet": ("PAR1 and nothing", "is no readable Parquet file"),
    "in.txt": ("a text", "is no .csv, .tsv, .jsonl"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_one_line_and_leave_what_was_there(finished_run, tmp_path, name):
    content, said = BROKEN[name]
    (tmp_path / name).write_text(content)
    (tmp_path / "out.csv").write_text("from before")
    with pytest.raises(DataError) as caught:
        predict(finished_run, tmp_path / name, tmp_path / "out.csv", overwrite=True)
    (line,) = caught.value.problems
    assert line.startswith("--data: ")
    assert said in line
    assert (tmp_path / "out.csv").read_text() == "from before"
    assert {path.name for path in tmp_path.iterdir()} == {name, "out.csv"}


def test_a_failure_on_the_way_leaves_nothing_half_written(finished_run, source, tmp_path, monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(Predictor, "probabilities", fails)
    path = source("in.csv")
    with pytest.raises(MemoryError):
        predict(finished_run, path, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [path]


def test_columns_are_never_overwritten_and_outputs_checked_first(finished_run, source, rows, tmp_path):
    taken = source("in.csv", [{**row, "predicted": "x"} for row in rows])
    with pytest.raises(DataError, match=r"names that predictions get \(predicted\)"):
        predict(finished_run, taken, tmp_path / "out.csv")
    with pytest.raises(ConfigError, match=r"--out: .* must end in .csv, .jsonl, .parquet"):
        predict(finished_run, taken, tmp_path / "out.txt")
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(ConfigError, match=r"--out: .* is a folder"):
        predict(finished_run, taken, tmp_path / "dir.csv")


def test_values_keep_their_types(finished_run, tmp_path):
    rows = [
        {"text": "good1", "n": 1, "list": [1], "odd": 1},
        {"text": "bad1", "extra": {"a": None}, "odd": "x"},
    ]
    heard = Heard()
    result = predict(finished_run, toy.write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", heard)
    first, second = (json.loads(line) for line in result.path.read_text().splitlines())
    assert (first["n"], first["list"], first["odd"]) == (1, [1], "1")
    assert second["extra"] == {"a": None}
    assert any("kept as text: odd" in note for note in heard.notes)


def test_confidence_follows_the_temperature(finished_run, source, tmp_path, monkeypatch):
    run = shutil.copytree(finished_run, tmp_path / "hot")
    write_calibration(run / "model", {"temperature": 3.0})
    heard = Heard()
    plain = read(predict(finished_run, source("in.csv"), tmp_path / "a.csv", heard).path)
    assert any("was not calibrated" in note for note in heard.notes)
    hot = read(predict(run, source("in.csv"), tmp_path / "b.csv").path)
    pd.testing.assert_frame_equal(plain.drop(columns="confidence"), hot.drop(columns="confidence"))
    np.testing.assert_allclose(plain.confidence, plain[["p_negative", "p_positive"]].max(axis=1))
    assert (hot.confidence < plain.confidence).all()


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
@pytest.mark.parametrize("out", ["out.csv", "out.jsonl"])
def test_carriage_returns_tear_no_rows(finished_run, tmp_path, name, out):
    texts = ["good1 word1", "bad1\rgood2 word3", "bad3 word4", "good1\r word5"]
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    if name == "in.csv":
        lines = ["id,text", *(f"{row['id']},{row['text']}" for row in rows)]
        (tmp_path / name).write_bytes("".join(f"{line}\n" for line in lines).encode())
    else:
        toy.write_rows(tmp_path / name, rows)
    result = predict(finished_run, tmp_path / name, tmp_path / out)
    frame = read(result.path)
    assert frame[["id", "text"]].astype(str).to_dict("records") == rows
    assert frame.predicted.notna().all()
    assert (frame.predicted == Predictor(finished_run / "model").predict(texts).predicted).all()


def test_blank_texts_get_no_prediction(finished_run, tmp_path):
    rows = [{"text": text} for text in ("good1", "\0", " ", "\u200b", "bad1")]
    frame = read(
        predict(finished_run, toy.write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl").path
    )
    assert frame.predicted.notna().tolist() == [True, False, False, False, True]


def test_what_is_there_is_replaced_only_if_that_is_asked_for(finished_run, source, tmp_path):
    (tmp_path / "out.csv").write_text("from before")
    with pytest.raises(
        ConfigError, match=r"--out: .*out\.csv exists already; give another name, or add --overwrite"
    ):
        predict(finished_run, source("in.csv"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "from before"
    predict(finished_run, source("in.csv"), tmp_path / "out.csv", overwrite=True)
    assert "predicted" in read(tmp_path / "out.csv").columns


def test_packed_files_separators_and_workbooks_are_read_as_a_task_reads_them(finished_run, rows, tmp_path):
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "in.tsv.gz", index=False, sep="\t")
    frame.to_csv(tmp_path / "in.csv", index=False, sep=";")
    frame.to_excel(tmp_path / "in.xlsx", index=False)
    toy.write_rows(tmp_path / "in.jsonl", rows)
    found = [
        read(predict(finished_run, tmp_path / name, tmp_path / f"{name}.csv").path)
        for name in ("in.jsonl", "in.tsv.gz", "in.csv", "in.xlsx")
    ]
    for other in found[1:]:
        pd.testing.assert_frame_equal(other, found[0])


FORMULAS = ["=1+1", "+cmd|calc", "-2+3", "@SUM(A1)", "\t=1", "＝1", '=HYPERLINK("http://x")']
PLAIN = ["-0.5", "+4e3", "good1 = good", "1-2", "'=1", "word", ""]


def test_no_cell_of_a_csv_is_a_formula(finished_run, tmp_path):
    texts = [*FORMULAS, *PLAIN]
    source = tmp_path / "in.jsonl"
    toy.write_rows(source, [{"=name": text, "text": f"{text} ", "number": -5} for text in texts])
    heard = Heard()
    predict(finished_run, source, tmp_path / "out.csv", heard, text="text")
    written = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, dtype=str)
    assert written["'=name"].tolist() == [*(f"'{text}" for text in FORMULAS), *PLAIN]
    assert set(written["number"]) == {"-5"}
    cells = [*written.columns, *written.to_numpy().ravel()]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "\t"))]
    assert any("begin like formulas of a spreadsheet" in note for note in heard.notes)

    predict(finished_run, source, tmp_path / "raw.csv", text="text", raw=True)
    raw = pd.read_csv(tmp_path / "raw.csv", keep_default_na=False, dtype=str)
    assert raw["=name"].tolist() == texts
    predict(finished_run, source, tmp_path / "out.parquet", text="text")
    assert pd.read_parquet(tmp_path / "out.parquet")["=name"].tolist() == texts


def test_what_is_no_list_of_texts_is_refused(finished_run):
    predictor = Predictor(finished_run / "model")
    with pytest.raises(DataError, match="found one text; give a list of texts"):
        predictor.predict("good1 word2")
    with pytest.raises(DataError, match="found 7, which is no text"):
        predictor.predict(["good1 word2", 7])  # pyright: ignore[reportArgumentType]


def test_gaps_of_a_table_have_no_prediction(finished_run):
    texts = pd.Series(["good1 good2", None, float("nan"), pd.NA, " "], index=[5, 6, 7, 8, 9])
    predicted = Predictor(finished_run / "model").predict(texts).predicted  # pyright: ignore[reportArgumentType]
    assert predicted.notna().tolist() == [True, False, False, False, False]
