import json

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
