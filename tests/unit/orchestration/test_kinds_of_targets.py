"""A target of every kind goes the whole way: trained, measured, compared, stored, put into a page and a card, asked,
exported, and loaded by MLflow's own interface."""

import json

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch
import toy

from sgg_ray.artifacts import export_model, open_run, write_model_card
from sgg_ray.config import Config
from sgg_ray.evaluation import standings
from sgg_ray.models import read_manifest, write_calibration
from sgg_ray.orchestration.compare.cell_record import _cell
from sgg_ray.orchestration.compare.cell_runner import CellKey, CellRunner, Split
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.prediction import Predictor, prediction_columns
from sgg_ray.report import ModelResult, quality_lines, quality_section, wrong_section
from sgg_ray.report.tables import conclusions
from sgg_ray.tasks import kind_of, load_tasks
from sgg_ray.tracking import Tracker, TrainedModel
from sgg_ray.training import load_predictions, predictions_path, run_training

KINDS = {
    "regression": (toy.rated, {"label": "stars"}, 40),
    "ordinal": (lambda count, seed: toy.rated(count, seed, levels=3), {"label": "stars"}, 12),
    "multi_label": (toy.tagged, {"label": "labels"}, 30),
}


@pytest.fixture(scope="module", params=KINDS)
def config(request, settings, tmp_path_factory):
    make, columns, shots = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)

    def task(name, seed):
        path = str(toy.write_rows(folder / f"{name}.jsonl", make(160, seed)))
        return {"name": name, "path": path, "kind": request.param, "columns": columns}

    changes = {
        "name": "kinds",
        "train": {"max_steps": 40, "head_learning_rate": 0.03, "eval_batch_size": 64},
        "ray": {"storage_path": str(folder / "runs")},
    }
    data = toy.merged(settings, changes)
    data["target"] = {**task("target", 1), "shots": shots, "test": {"fraction": 0.4}}
    data["sources"] = [task("same", 2), {"name": "labels", "path": settings["sources"][0]["path"]}]
    return Config.model_validate(data)


@pytest.fixture(scope="module")
def finished(config):
    return toy.finish_run(config)


def test_training_learns_what_there_is_to_learn(config, finished):
    """The texts' words tell everything; from zero, a model knows nothing."""
    metrics = json.loads((finished / "metrics.json").read_text())["guided"]
    if config.target.kind == "regression":
        assert metrics["spearman_low"] > 0.3
        assert metrics["mae"] < metrics["constant_mae"]
    elif config.target.kind == "ordinal":
        assert metrics["spearman"] > 0.3
        assert metrics["mae"] < metrics["constant_mae"]
    else:
        assert metrics["exact_match"] > 0.4  # of four sets
    assert sum(value is not None for value in metrics.values()) > 4


def test_a_file_is_predicted_and_measured(config, finished, tmp_path):
    kind, rows = config.target.kind, KINDS[config.target.kind][0](30, 9)
    data = toy.write_rows(
        tmp_path / "new.jsonl", [*rows, {"text": " ", **{k: None for k in rows[0] if k != "text"}}]
    )
    found = predict(finished, data, tmp_path / "out.parquet").to_dict()
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert (found["rows"], found["without_text"], found["metrics"]["rows"]) == (31, 1, 30)
    labels = Predictor(finished / "model").labels
    assert table.schema.names[2:] == list(prediction_columns(kind, labels))
    said = table.column("predicted").to_pylist()
    assert said[-1] is None
    if kind == "regression":
        true = np.array([row["stars"] for row in rows])
        assert found["metrics"]["mae"] == pytest.approx(np.abs(np.array(said[:-1]) - true).mean())
    elif kind == "multi_label":
        exact = np.mean(
            [
                set(filter(None, one.strip("[]").split("|"))) == set(row["labels"])
                for one, row in zip(said, rows)
            ]
        )
        assert found["metrics"]["exact_match"] == pytest.approx(exact)
    else:
        off = [abs(int(one) - row["stars"]) for one, row in zip(said, rows)]
        assert found["metrics"]["mae"] == pytest.approx(np.mean(off))
    again = predict(finished, data, tmp_path / "out.csv").to_dict()
    for name, value in found["metrics"].items():
        assert again["metrics"][name] == (value if isinstance(value, list) else pytest.approx(value))


def test_predictions_are_stored_and_shown(config, finished, tmp_path):
    target, _ = load_tasks(config)
    outcome = run_training(config.model_copy(update={"sources": []}), target, [], {}, torch.device("cpu"))
    path = predictions_path(tmp_path, target)
    outcome.predictions.save(path)
    again = load_predictions(path, target)
    assert again.metrics().to_dict() == outcome.predictions.metrics().to_dict()
    gain = outcome.predictions.minus(again)
    assert set(gain.gains().values()) == {0.0}
    results = [ModelResult("target only", again.metrics()), ModelResult("guided", again.metrics(), gain)]
    lines = " ".join(quality_lines(results))
    assert "no difference between guided and target only is shown" in lines.lower()
    (quality,) = quality_section(results).tables
    assert len({len(row) for row in [quality.headings, *quality.rows]}) == 1
    said = [*conclusions(results), *(row[0] for row in quality.rows)]
    assert any("for all" in line for line in said)  # what knowing nothing of the texts gives
    frame = pd.read_parquet(finished / "predictions.parquet")
    assert wrong_section(frame, again.metrics(), target.labels).tables
    metrics = {"guided": again.metrics().to_dict(), "difference": gain.to_dict()}
    card = write_model_card(tmp_path, config=config, target=target, sources=[], report=None, metrics=metrics)
    assert "nan" not in card.read_text()


def test_held_out_shots_make_a_threshold_or_a_temperature(config):
    target, _ = load_tasks(config)
    found = run_training(config.model_copy(update={"sources": []}), target, [], {}, torch.device("cpu"))
    fitted = type(found.predictions).fit_calibration(found.array, target.test)
    expected = {"regression": {}, "ordinal": {"temperature"}, "multi_label": {"threshold"}}
    assert set(fitted) == set(expected[target.kind])
    assert type(found.predictions).calibrated == bool(fitted)
    assert all(np.isfinite(value) for value in found.predictions.calibration(fitted).values())
    if target.kind == "multi_label":
        assert 0 < fitted["threshold"] < 1


def test_a_threshold_decides_what_is_predicted(config, finished):
    if config.target.kind != "multi_label":
        return
    texts = [row["text"] for row in toy.tagged(20, 3)]
    before = Predictor(finished / "model").predict(texts)
    chances = before[["p_blame", "p_praise"]].to_numpy()
    assert [("blame" in one) for one in before.predicted] == list(chances[:, 0] >= 0.5)
    assert read_manifest(finished / "model").at_least_one is False  # some of the shots have no label
    try:
        write_calibration(finished / "model", {"threshold": float(np.median(chances)), "rows": 9})
        said = Predictor(finished / "model").predict(texts).predicted
        for name, column in zip(("blame", "praise"), chances.T):
            assert [(name in one) for one in said] == list(column >= np.median(chances))
    finally:
        write_calibration(finished / "model", {"threshold": None})


def test_strategies_are_compared(config):
    off = dict.fromkeys(("lambda_direction", "lambda_magnitude", "lambda_alignment", "lambda_source"), 0)
    strategies = [{"name": "full", "guidance": off}, {"name": "sgg", "train": {"share_labels": True}}]
    compared = Config.model_validate({**config.model_dump(), "compare": {"strategies": strategies}})
    runner = CellRunner(compared, torch.device("cpu"))
    split = Split(0, "target", int(config.target.shots))
    scores = runner.score(split)
    (found,) = {json.dumps(sorted(one)) for one in scores.values()}
    assert found == '["labels", "same"]'
    for one in scores.values():
        assert one["same"]["meets_head"]
        assert not one["labels"]["meets_head"]
        assert one["same"]["value"] > 0.3
    cells = [_cell(runner.train(CellKey(name, split), scores)) for name in ("full", "sgg")]
    full, sgg = standings(cells, "full")
    assert np.isfinite(sgg.mean)
    assert sgg.contrast.difference == pytest.approx(sgg.mean - full.mean)
    assert np.isnan(sgg.contrast.mcnemar) == (config.target.kind == "regression")
    assert np.isfinite(sgg.measures["mae"]) == (config.target.kind in ("regression", "ordinal"))


def test_an_exported_model_says_the_same(config, finished, tmp_path):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    predictor = Predictor(finished / "model")
    texts = [row["text"] for row in toy.sentences(6, seed=5)]
    expected = predictor.probabilities(texts)
    run = open_run(finished)
    one = SentenceTransformer(str(export_model(run, tmp_path / "st", "sentence-transformers"))).encode(texts)
    folder = export_model(run, tmp_path / "tf", "transformers")
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    two = model(tokens.input_ids, tokens.attention_mask).logits.detach().numpy()
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
    if config.target.kind == "regression":
        np.testing.assert_allclose(two, expected, rtol=1e-4)
    elif config.target.kind == "multi_label":
        np.testing.assert_allclose(1 / (1 + np.exp(-two)), expected, rtol=1e-4)
    else:
        chances = np.exp(two) / np.exp(two).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(chances, expected, rtol=1e-4, atol=1e-6)
    assert list(model.config.id2label.values()) == list(predictor.labels)


@pytest.mark.slow
def test_mlflow_loads_the_model(config, finished, database, tmp_path):
    manifest = read_manifest(finished / "model")
    assert kind_of(manifest.target_head) == config.target.kind
    tracker = Tracker.start(f"sqlite:///{database}", "kinds", "run")
    labels = tuple(manifest.heads[manifest.target_head])
    tracker.log_model(TrainedModel(finished / "model", labels, "kinds", {"test/x": 1.0}, None, "test/x"))
    assert tracker.finish()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    try:
        texts = [row["text"] for row in toy.sentences(4, seed=5)]
        found = mlflow.pyfunc.load_model("models:/kinds/1").predict(pd.DataFrame({"text": texts}))
    finally:
        mlflow.set_tracking_uri(before)
    expected = Predictor(finished / "model").predict(texts)
    assert list(found.columns) == list(expected.columns)
    if config.target.kind == "regression":
        np.testing.assert_allclose(found.predicted, expected.predicted, rtol=1e-5)
    else:
        assert list(found.predicted) == list(expected.predicted)
