"""Rows are scored by actors on Ray, and a training uses what they come to."""

import json

import actors
import numpy as np
import pandas as pd
import pytest
import torch
import toy
from mlflow import MlflowClient
from typer.testing import CliRunner

from sgg_ray.cli import app
from sgg_ray.config import Config
from sgg_ray.orchestration.score.row_scoring import weights_of_rows
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training

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


def test_a_training_draws_the_rows_that_are_kept(settings, still_encoder, tmp_path, data):
    sources = [{"name": "some", "path": str(data / "clean.jsonl"), "flip_labels": 0.3}]
    outputs = {
        "model": {"path": str(still_encoder)},
        "alignment": {"row_weighting": "keep"},
        "train": {"max_steps": 12, "baseline": False, "learning_rate": 1e-4},
        "ray": {"storage_path": str(tmp_path / "runs"), "task_workers": 1},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    config = Config.model_validate({**toy.merged(settings, outputs), "sources": sources})
    heard = actors.Recorder()
    result = train(config, heard)
    target, (source,) = load_tasks(config)
    frame = pd.read_parquet(result.folder / "rows.parquet")
    weights = weights_of_rows(config, [source], frame)["some"]
    assert 0.1 < (weights == 0).mean() < 0.4
    assert any("rows left out" in note for note in heard.notes)
    assert result.report.sources[0].rows <= (weights > 0).sum()  # scored anew, without them
    kept = source.__class__(**{**source.__dict__, "train": source.train.weighted(weights)})
    alone = run_training(config, target, [kept], result.report.weights, torch.device("cpu"))
    np.testing.assert_allclose(np.load(result.folder / "probabilities.npy"), alone.probabilities, atol=1e-5)
