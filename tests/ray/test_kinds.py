"""Targets of every kind, and pairs, are trained on Ray with a source, and MLflow has what the run folder has."""

import json

import pandas as pd
import pytest
import toy
from mlflow import MlflowClient

from sgg_ray.config import Config
from sgg_ray.models import read_manifest
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.orchestration.tune.tune_driver import tune
from sgg_ray.prediction import prediction_columns
from sgg_ray.tasks import kind_of

# By hand: the kinds have quick tests of everything but Ray, which does not know of kinds.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.by_hand,
    pytest.mark.usefixtures("database"),
]


def pairs(count, seed):
    return [
        {"premise": row["text"], "hypothesis": "good1 word2", "label": row["label"]}
        for row in toy.sentences(count, seed)
    ]


KINDS = {
    "regression": (toy.rated, {"label": "stars"}, "spearman"),
    "ordinal": (lambda count, seed: toy.rated(count, seed, levels=3), {"label": "stars"}, "accuracy"),
    "multi_label": (toy.tagged, {"label": "labels"}, "micro_f1"),
    "multiple_choice": (toy.choices, {"choices": "choices"}, "accuracy"),
    "classification": (pairs, {"text": ["premise", "hypothesis"]}, "accuracy"),
}


@pytest.fixture
def configure(settings, lm, tmp_path):
    def run(kind, **changes):
        make, columns, _ = KINDS[kind]

        def task(name, seed):
            path = str(toy.write_rows(tmp_path / f"{name}.jsonl", make(90, seed)))
            return {"name": name, "path": path, "kind": kind, "columns": columns}

        data = toy.merged(
            settings,
            {
                "name": f"kind-{kind}",
                "train": {"max_steps": 6, "baseline": True, "calibration_folds": 2},
                "ray": {"storage_path": str(tmp_path / "runs"), "num_workers": 2},
                "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db", "register_as": "kinds"},
                **changes,
            },
        )
        if kind == "multiple_choice":
            data["model"] = {"path": str(lm)}
        data["target"] = {**task("target", 1), "shots": 10, "test": {"fraction": 0.4}}
        data["sources"] = [task("same", 2)]
        return Config.model_validate(data)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_trained_logged_and_used(configure, kind, tmp_path):
    config = configure(kind)
    result = train(config)
    metrics = json.loads((result.folder / "metrics.json").read_text())
    name = KINDS[kind][2]
    assert {"guided", "target-only", "difference"} <= set(metrics)
    assert (result.folder / "report.html").is_file()
    manifest = read_manifest(result.folder / "model")
    assert kind_of(manifest.target_head) == kind
    assert (manifest.threshold is not None) == (kind == "multi_label")
    assert (manifest.temperature is not None) == (kind in ("ordinal", "classification", "multiple_choice"))
    client = MlflowClient(config.tracking.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("sgg").experiment_id])
    kept = metrics[metrics["kept"]["model"]]
    assert run.data.metrics[f"test/{name}"] == pytest.approx(kept[name])
    assert client.get_model_version("kinds", "1").run_id == run.info.run_id
    stored = pd.read_parquet(result.folder / "predictions.parquet")
    labels = manifest.heads[manifest.target_head]
    assert set(prediction_columns(kind, labels)) - {"confidence"} <= set(stored.columns)
    data, again = tmp_path / "target.jsonl", {}
    for workers in (0, 1):
        out = tmp_path / f"out-{workers}.parquet"
        again[workers] = predict(result.folder, data, out, workers=workers).to_dict()["metrics"]
    assert again[0] == again[1]


def test_numbers_are_swept(configure):
    tuned = configure("regression", tune={"num_samples": 2, "search": "random", "folds": 2})
    result = tune(tuned)
    assert all(len(rows) == 5 for trial in result.trials for rows in trial.losses)
