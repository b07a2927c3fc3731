"""Rows are scored by actors on Ray, and a training uses what they come to."""

import json

import actors
import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from sgg_ray.cli import app

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("database")]


def test_the_command_leaves_a_table_and_a_page(write_config, tmp_path):
    told = CliRunner().invoke(app, ["score", str(write_config()), "--rows", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert {one["task"]: one["role"] for one in found["rows"]}["clean"] == "source"
    folder = tmp_path / "runs" / "toy-rows"
    assert len(pd.read_parquet(folder / "rows.parquet")) == sum(one["rows"] for one in found["rows"])
    assert (folder / "rows.html").is_file()
    record = json.loads((folder / "run.json").read_text())
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert {"rows.parquet", "rows.html"} <= {
        file.path for file in client.list_artifacts(record["mlflow_run_id"])
    }
    assert list((tmp_path / "runs" / ".row-index").glob("*/00000.npy"))
    assert actors.all_end("TaskWorker")
