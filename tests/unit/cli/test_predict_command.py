import errno
import json
import shutil

import pytest
import toy


@pytest.fixture
def rows(here):
    return toy.write_rows(here / "in.jsonl", toy.sentences(12, seed=13))


def test_it_prints_counts_metrics_and_the_place(sgg, no_ray, finished_run, rows):
    result = sgg("predict", finished_run, "--data", rows, "--out", "out.csv")
    assert result.exit_code == 0, result.output
    assert "12 rows in" in result.stdout
    assert "on 12 labelled rows: accuracy" in result.stdout
    assert "true \\ predicted  negative  positive" in result.stdout
    assert result.stdout.splitlines()[-1] == "written to out.csv"
    assert result.stderr == ""


def test_json_is_one_document(sgg, no_ray, finished_run, rows):
    result = sgg("predict", finished_run, "--data", rows, "--out", "out.csv", "--json")
    found = json.loads(result.stdout)
    assert (found["rows"], found["path"], found["metrics"]["rows"]) == (12, "out.csv", 12)


def test_a_wrong_run_or_file_is_one_line(refused, finished_run, rows, here):
    assert "RUN: there is no run folder nothing" in refused(
        "predict", "nothing", "--data", rows, "--out", "out.csv"
    )
    assert "in.csv does not exist" in refused("predict", finished_run, "--data", "in.csv", "--out", "out.csv")
    assert "--out: out.xls must end in" in refused(
        "predict", finished_run, "--data", rows, "--out", "out.xls"
    )


def test_what_cannot_be_right_is_refused_before_anything_is_read(refused, finished_run, rows, here):
    assert refused("predict", finished_run, "--data", rows, "--out", rows) == (
        f"--out: {rows} is the file that is read; give another name"
    )
    (here / "twice.csv").write_text("text,text,label\na,b,positive\n")
    assert "--data: twice.csv has 2 columns of the name 'text'; rename them" in refused(
        "predict", finished_run, "--data", "twice.csv", "--out", "out.csv"
    )
    assert f"--out: {rows} is no folder" in refused(
        "predict", finished_run, "--data", rows, "--out", rows / "new/out.csv"
    )


def test_labels_that_the_model_does_not_know_are_told(sgg, no_ray, finished_run, here):
    values = ["positive", " negative ", "Positive", "NEGATIVE", "NEGATIVE", ""]
    (here / "in.csv").write_text("text,label\n" + "".join(f"good1,{value}\n" for value in values))
    result = sgg("predict", finished_run, "--data", "in.csv", "--out", "out.csv")
    assert "3 rows have a label that the model does not know: 'Positive', 'NEGATIVE'" in result.stdout
    assert "on 2 labelled rows" in result.stdout


def test_a_full_disk_is_told_and_leaves_nothing(sgg, no_ray, finished_run, rows, here, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sgg_ray.artifacts.files.os.fsync", full)
    result = sgg("predict", finished_run, "--data", rows, "--out", "out.csv")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: No space left on device (out.csv); free some of the disk, and give the same command again"
    ]
    assert [path.name for path in here.iterdir()] == [rows.name]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", '{"status"'),
        ("run.json", "[1]"),
        ("config.yaml", "{}"),
        ("config.yaml", "[1"),
        ("config.yaml", None),
        ("model/sgg_model.json", '{"lab'),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "export"])
def test_a_run_that_is_damaged_is_one_line(refused, finished_run, rows, here, name, content, verb):
    run = shutil.copytree(finished_run, here / "runs" / "torn")
    (run / name).unlink() if content is None else (run / name).write_text(content)
    options = ["--data", rows, "--out", "out.csv"] if verb == "predict" else ["--to", "exported"]
    assert refused(verb, "torn", *options).startswith("RUN: torn is damaged (")


@pytest.mark.parametrize("option", ["--label", "--data", "--out", "--workers"])
def test_an_option_given_twice_is_refused(sgg, finished_run, rows, here, option):
    result = sgg("predict", finished_run, "--data", rows, "--out", "out.csv", option, "1", option, "2")
    assert result.exit_code == 2
    assert f"{option} is given" in result.output
    assert not (here / "out.csv").exists()


def test_more_columns_than_the_model_takes_are_refused(refused, finished_run, rows, here):
    line = refused(
        "predict", finished_run, "--data", rows, "--out", "out.csv", "--text", "text", "--text", "label"
    )
    assert line.startswith("--text: the model takes text, found text, label; name 1 of the columns")


def test_a_file_that_is_there_stays_without_overwrite(sgg, refused, finished_run, rows, here):
    (here / "out.csv").write_text("mine")
    assert "out.csv exists already" in refused("predict", finished_run, "--data", rows, "--out", "out.csv")
    result = sgg("predict", finished_run, "--data", rows, "--out", "out.csv", "--overwrite")
    assert result.exit_code == 0, result.output
    assert "predicted" in (here / "out.csv").read_text()
