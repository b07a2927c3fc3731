"""The quick start, cut down, on the real model and the real data: everything a user's first run leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from sgg_ray.models import TokenisedRows, load_model

ROOT = Path(__file__).parents[2]
CUT = (
    "train.max_steps=4",
    "train.save_steps=3",
    "train.logging_steps=2",
    "target.test.fraction=0.01",
    "sources.imdb.max_rows=200",
    "sources.imdb-flipped.max_rows=200",
    "sources.tweets.max_rows=200",
    "sources.tweets-3way.max_rows=200",
    "alignment.rows=200",
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder in which `python pipelines/train.py quickstart.yaml` was run."""
    folder = tmp_path_factory.mktemp("quickstart")
    command = [
        sys.executable,
        str(ROOT / "pipelines/train.py"),
        str(ROOT / "pipelines/configs/quickstart.yaml"),
    ]
    for override in CUT:
        command += ["--set", override]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


def test_flipped_source_comes_last_and_gets_no_weight(run: Path):
    sources = json.loads((run / "runs/quickstart/scores.json").read_text())["sources"]
    values = {source["source"]: source["score"]["observed"] for source in sources}
    weights = {source["source"]: source["weight"] for source in sources}
    assert min(values, key=values.__getitem__) == "imdb-flipped"
    assert values["imdb-flipped"] < 0 < values["imdb"]
    assert weights["imdb-flipped"] == 0
    assert sum(weights.values()) == pytest.approx(1)


def test_run_folder_is_complete(run: Path):
    folder = run / "runs/quickstart"
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    for name in (
        "config.yaml",
        "scores.parquet",
        "scores.png",
        "similarity.png",
        "curves.png",
        "metrics.json",
    ):
        assert (folder / name).stat().st_size > 0, name
    predictions = pd.read_parquet(folder / "predictions.parquet")
    metrics = json.loads((folder / "metrics.json").read_text())
    accuracy = (predictions["label"] == predictions["predicted"]).mean()
    assert metrics["guided"]["accuracy"] == pytest.approx(accuracy)
    assert metrics["guided"]["rows"] == metrics["target-only"]["rows"] == len(predictions)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for name in ("guided", "target-only"):
        steps = [event["step"] for event in events if event["run"] == name and "loss" in event]
        assert steps == [0, 1, 2, 3]


def test_saved_model_predicts_what_the_run_predicted(run: Path):
    folder = run / "runs/quickstart"
    predictions = pd.read_parquet(folder / "predictions.parquet").head(8)
    model, head = load_model(folder / "model")
    tokens = model.tokenizer(list(predictions["text"]), truncation=True, max_length=model.max_length)
    for row, ids in enumerate(tokens["input_ids"]):
        rows = TokenisedRows(head, (np.array(ids),), np.zeros(1, dtype=np.int64))
        probability = model.predictions(model.collate([(rows, 0)]))[0].tolist()
        expected = predictions.iloc[row][[f"p_{name}" for name in model.labels[head]]].tolist()
        assert probability == pytest.approx(expected, abs=1e-4)


def test_mlflow_run_has_parameters_curves_metrics_and_model(run: Path):
    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    record = json.loads((run / "runs/quickstart/run.json").read_text())
    found = client.get_run(record["mlflow_run_id"])
    assert found.info.status == "FINISHED"
    assert found.data.params["guidance.lambda_direction"] == "0.1"
    assert found.data.params["sources.imdb-flipped.flip_labels"] == "1.0"
    assert [point.step for point in client.get_metric_history(found.info.run_id, "loss")] == [0, 1, 2, 3]
    assert "test/accuracy" in found.data.metrics
    names = {artifact.path for artifact in client.list_artifacts(found.info.run_id)}
    assert {"metrics.json", "curves.png", "scores.json", "report.html"} <= names
    assert len(found.outputs.model_outputs) == 1


def test_output_tells_the_ranking_and_the_comparison(run: Path):
    output = (run / "stdout").read_text()
    assert "verdict" in output
    assert "target only" in output
    assert "test rows" in output
