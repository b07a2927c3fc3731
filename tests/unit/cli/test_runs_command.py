"""`sgg runs` lists, `sgg show` opens one, `sgg runs rm` deletes."""

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from sgg_ray.cli import app


@pytest.fixture
def storage(finished_run, tmp_path):
    for number, name in enumerate(("first", "second")):
        folder = shutil.copytree(finished_run, tmp_path / "runs" / name)
        record = json.loads((folder / "run.json").read_text())
        record |= {"started": f"2026-01-0{number + 1}T10:00:00+00:00", "ended": "2026-01-03T10:00:00+00:00"}
        (folder / "run.json").write_text(json.dumps(record))
    metrics = json.loads((tmp_path / "runs/first/metrics.json").read_text())
    metrics["guided"]["accuracy"] = 1.0
    (tmp_path / "runs/first/metrics.json").write_text(json.dumps(metrics))
    return tmp_path / "runs"


def called(*words) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, done.stdout


def test_the_newest_or_the_best_comes_first(storage):
    code, text = called("runs", "--storage", storage)
    assert code == 0
    newest, oldest = text.splitlines()[1:3]
    assert newest.split()[:3] == ["second", "train", "target"]
    assert oldest.split()[:7] == ["first", "train", "target", "8", "0", "100.0", "%"]
    assert "2026-01-01 10:00  48 h 00 min  finished" in oldest
    assert called("runs", "--storage", storage, "--sort", "quality")[1].splitlines()[1].startswith("first")


def test_they_are_filtered_and_printed_as_json(storage):
    code, text = called("runs", "--storage", storage, "--command", "train", "--most", 1, "--json")
    (run,) = json.loads(text)["runs"]
    assert (code, run["name"], run["status"], run["seconds"]) == (0, "second", "finished", 86400.0)
    assert "no such runs" in called("runs", "--storage", storage, "--target", "other")[1]


def test_a_run_is_shown_with_its_wrong_rows(storage):
    code, text = called("show", storage / "second", "--wrong", 2)
    assert code == 0
    assert text.splitlines()[1] == "second"
    assert "test rows are wrong" in text
    assert re.search(r"majority class +50.0 %", text)
    code, text = called("show", storage / "second", "--json")
    found = json.loads(text)
    assert found["metrics"]["guided"]["rows"] > 0
    assert all(row["label"] != row["predicted"] for row in found["wrong"])


def test_runs_are_deleted_when_that_is_meant(storage):
    assert (
        CliRunner().invoke(app, ["runs", "rm", "first", "--storage", str(storage)], input="n\n").exit_code
        == 2
    )
    assert (storage / "first").is_dir()
    assert called("runs", "rm", "first", "--yes", "--storage", storage)[0] == 0
    assert not (storage / "first").exists()
    assert called("runs", "rm", "first", "--yes", "--storage", storage)[0] == 2


def test_who_deletes_is_asked_about_runs_that_are_there(storage):
    result = CliRunner().invoke(app, ["runs", "rm", "nothing", "--storage", str(storage)], input="y\n")
    assert (result.exit_code, "delete 1" in result.output) == (2, False)
    assert f"NAME: nothing is no run in {storage}" in result.output
    result = CliRunner().invoke(app, ["runs", "rm", "first", "first", "--storage", str(storage)], input="")
    assert result.exit_code == 2
    assert "delete 1 run folder from" in result.output
    assert "error: nothing was deleted; add --yes where nobody can answer" in result.output
    assert (storage / "first").is_dir()


@pytest.mark.parametrize("name", ["metrics.json", "predictions.parquet", "scores.json"])
@pytest.mark.parametrize("content", [None, "", '{"guided": {'])
def test_a_damaged_file_of_a_run_is_one_line(storage, name, content):
    path = storage / "second" / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(app, ["show", str(storage / "second")])
    if (name, content) == ("scores.json", None):  # a run without sources has none
        assert result.exit_code == 0
        return
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if line.startswith("error")]
    assert line.startswith(f"error: RUN: second is damaged ({name}: ")
    assert line.endswith("; train it anew under another --name")


def test_a_public_repository_needs_a_name(storage, tmp_path):
    result = CliRunner().invoke(
        app, ["export", str(storage / "first"), "--to", str(tmp_path / "out"), "--public"]
    )
    assert result.exit_code == 2
    assert "error: --public: it is about a repository; name one with --push" in result.output
    assert not (tmp_path / "out").exists()
