import os
import subprocess
import sys

import pytest

from sgg_ray.config import SourceConfig, label_name
from sgg_ray.errors import DataError
from sgg_ray.tasks.read import read_table


def read(path, **options):
    return read_table(SourceConfig.model_validate({"name": "s", "path": path, **options}), "sources.s")


def refused(path, **options) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return list(caught.value.problems)


def values(table):
    return [table.values[number] for number in table.labels]


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        ([1, 1.0, "1", "1.0", " 1 ", "1.00"], "1"),
        ([True, "true", "True", "TRUE"], "true"),
        ([0, -0.0, "0", "0.0"], "0"),
        (["Positive", " Positive"], "Positive"),
        (["1.5", 1.5], "1.5"),
        (["007"], "007"),
        (["9" * 30 + ".0"], "9" * 30 + ".0"),
    ],
)
def test_one_label_has_one_name_however_it_is_spelled(spellings, name):
    assert {label_name(spelling) for spelling in spellings} == {name}


def test_labels_have_the_same_names_from_every_kind_of_file(write, tmp_path):
    import pandas as pd

    rows = [("a", 1), ("b", 0), ("c", 1)]
    frame = pd.DataFrame([*rows, ("d", None)], columns=["text", "label"])
    assert frame["label"].dtype == float
    frame.to_parquet(tmp_path / "a.parquet")
    tables = [read(write("a.csv", rows)), read(write("a.jsonl", rows)), read(str(tmp_path / "a.parquet"))]
    assert [values(table) for table in tables] == [["1", "0", "1"]] * 3


@pytest.mark.parametrize(
    ("where", "texts"),
    [
        ({}, ["a", "b", "c", "d"]),
        ({"n": 1}, ["a", "c"]),
        ({"n": "1.0"}, ["a", "c"]),
        ({"n": [1, 3]}, ["a", "c", "d"]),
        ({"n": 1, "flag": True}, ["a"]),
        ({"flag": "true"}, ["a", "b"]),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_filter_keeps_rows_with_one_of_its_values(write, where, texts, suffix):
    lines = {
        "csv": "text,label,n,flag\na,x,1,True\nb,y,2,True\nc,x,1,False\nd,y,3,\n",
        "jsonl": '{"text":"a","label":"x","n":1,"flag":true}\n{"text":"b","label":"y","n":2,"flag":true}\n'
        '{"text":"c","label":"x","n":1.0,"flag":false}\n{"text":"d","label":"y","n":3}\n',
    }
    assert read(write(f"a.{suffix}", lines[suffix]), where=where).texts == texts


def test_a_filter_that_keeps_nothing_lists_what_there_is(write):
    (line,) = refused(write("a.csv", "text,label,n\na,x,1\nb,y,2\n"), where={"n": 7})
    assert line.startswith("sources.s.where: no row of ")
    assert line.endswith("has n = 7; it has: 1, 2")


def test_all_missing_columns_are_named_at_once_with_the_nearest(write):
    lines = refused(
        write("a.csv", "text,label,source\na,b,c\n"),
        columns={"text": "txet", "label": "lable"},
        where={"sourc": 1},
    )
    assert [line.split(":")[0] for line in lines] == [
        "sources.s.columns.text",
        "sources.s.columns.label",
        "sources.s.where",
    ]
    assert lines[1].endswith("; it has: text, label, source; did you mean 'label'?")


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("a.csv", "text,label\n", {}, "sources.s.path: {} has no rows; give a file with rows"),
        (
            "a.csv",
            "text,label\na,\nb,  \n",
            {},
            "sources.s.columns.label: no row of {} has a value in column 'label'",
        ),
        (
            "a.jsonl",
            '{"text":"a","label":["x"]}',
            {},
            "sources.s.columns.label: column 'label' of {} holds lists",
        ),
        (
            "a.jsonl",
            '{"text":["a"],"label":"x"}',
            {},
            "sources.s.columns.text: column 'text' of {} holds lists",
        ),
        ("a.jsonl", '{"text":"a","label":"x","n":{}}', {"where": {"n": 1}}, "sources.s.where: column 'n' of"),
    ],
)
def test_columns_without_use_are_one_line(write, name, content, options, expected):
    path = write(name, content)
    (line,) = refused(path, **options)
    assert line.startswith(expected.replace("{}", path))


def test_rows_without_a_label_are_dropped_and_counted(write):
    table = read(write("a.csv", "text,label\na,x\nb,\nc, \nd,y\n"))
    assert (table.texts, table.notes) == (["a", "d"], ("2 rows without a label dropped",))


def test_half_characters_are_repaired_and_counted(write):
    table = read(
        write("a.jsonl", '{"text": "a \\ud83d b", "label": 1}\n{"text": "\\ud83d\\ude00", "label": 2}\n')
    )
    assert table.texts == ["a � b", "\U0001f600"]
    assert table.notes == ("1 text with broken characters repaired",)
    assert ["".join(text).encode() for text in table.texts]


def test_texts_that_are_numbers_or_bytes_become_text(write, tmp_path):
    import pandas as pd

    assert read(write("a.jsonl", '{"text": 12, "label": 1}\n{"text": null, "label": 2}')).texts == ["12", ""]
    pd.DataFrame({"text": [b"caf\xc3\xa9", b"\xff"], "label": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    assert read(str(tmp_path / "a.parquet")).texts == ["café", "�"]


def test_a_categorical_column_is_a_label_like_any_other(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(
        {"text": ["a", "b"], "label": pd.Categorical(["x", "y"], categories=["y", "x", "z"])}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    table = read(str(tmp_path / "a.parquet"))
    assert (values(table), table.values) == (["x", "y"], ("x", "y"))


def test_a_file_of_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "some_reviews"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "rows.csv").write_text("text,label\na,x\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert read("package://some_reviews/data/rows.csv").texts == ["a"]
    (line,) = refused("package://some_reviews/data/other.csv")
    assert line.startswith("sources.s.path: package 'some_reviews' has no file 'data/other.csv'")


@pytest.mark.parametrize(
    "path", ["package://absent_package_xyz/a.csv", "package://a.b/c", "package://", "package://__main__/a"]
)
def test_a_package_that_is_not_installed_comes_with_the_command(path):
    (line,) = refused(path)
    assert "is not installed here; install it" in line
    assert 'pip install "sgg-ray[demo]"' in line


@pytest.mark.parametrize("path", ["https://host/x.csv", "s3://bucket/x.csv", "a\0b.csv"])
def test_paths_that_cannot_be_read_are_refused(path):
    (line,) = refused(path)
    assert line.startswith("sources.s.path: ")


def test_tasks_load_neither_torch_nor_pandas_before_they_are_read():
    code = (
        "import sys, sgg_ray.tasks\n"
        "print(sorted({'torch', 'ray', 'pandas', 'pyarrow', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


PAIRS = [(f"a man plays guitar {n // 2}", f"someone makes some music {n}", "yn"[n % 2]) for n in range(8)]
UNREAD = (
    "column 'hypothesis' also holds texts and is not read; columns.text: [premise, hypothesis] makes a pair"
)


def test_a_pair_is_proposed_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("premise,hypothesis,label\n" + "".join(",".join(row) + "\n" for row in PAIRS))
    (note,) = read(str(path), columns={"text": "hypothesis"}).notes
    assert note.startswith(
        "column 'premise' also holds texts and is not read; columns.text: [premise, hypothesis]"
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow"])
def test_a_second_column_of_texts_is_said(tmp_path, suffix):
    import pandas as pd
    import pyarrow as pa

    frame = pd.DataFrame(PAIRS, columns=["premise", "hypothesis", "label"])
    frame["id"], frame["url"], frame["kind"] = range(8), "http://a.b/c", "not a text"
    path = tmp_path / f"a.{suffix}"
    if suffix == "arrow":
        table = pa.Table.from_pandas(frame)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        {"csv": frame.to_csv, "parquet": frame.to_parquet}.get(
            suffix, lambda file: frame.to_json(file, orient="records", lines=True)
        )(path)
    assert read(str(path), columns={"text": "premise"}).notes == (UNREAD,)


def test_one_column_of_texts_among_others_is_nothing_to_say(write):
    lines = "".join(f"{n},2024-01-0{n},word{n},some more words {n},x\n" for n in range(1, 9))
    assert read(write("a.csv", f"id,day,name,text,label\n{lines}")).notes == ()
