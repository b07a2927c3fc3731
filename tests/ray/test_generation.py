"""Tasks of kind generation go through every command: scoring, training, prediction, a sweep and a comparison."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import yaml
from mlflow import MlflowClient

from sgg_ray.artifacts import open_run
from sgg_ray.config import Config, load_config
from sgg_ray.orchestration.compare.compare_driver import compare
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.orchestration.score.score_driver import score
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.orchestration.tune.tune_driver import tune
from sgg_ray.prediction import Predictor

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("database")]

LORA = {"model": {"adapter": {"peft_type": "lora", "r": 4}}}
OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}
BASELINES = [
    {"name": "lora"},
    {"name": "zero-shot", "train": {"method": "zero_shot"}},
    {"name": "in-context", "train": {"method": "in_context", "context_length": 80}},
]


@pytest.fixture
def labels(data):
    return {"name": "labels", "path": str(data / "clean.jsonl"), "prompt": "Review: {text}\nLabel:"}


@pytest.mark.slow
def test_a_mixed_pool_is_scored_trained_and_used(make_generation, generation, labels, tmp_path):
    config = make_generation(
        **LORA,
        sources=[*generation["sources"], labels],
        target={"max_rows": 20},
        alignment={"refresh_interval": 4},
        train={"max_steps": 12, "save_steps": 5},
        ray={"task_workers": 1},
    )
    result = train(config)
    report = {row.source: row for row in result.report.sources}
    assert {row.space for row in report.values()} == {"all parameters"}
    assert all(row.score is not None for row in report.values())
    stored = pandas.read_parquet(result.folder / "predictions.parquet")
    assert len(stored) == 20
    assert list(stored.columns) == [
        "prompt",
        "reference",
        "generated",
        "loss",
        "tokens",
        "exact_match",
        "rouge_l",
    ]
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["guided"]["loss"] == pytest.approx(np.average(stored["loss"], weights=stored["tokens"]))
    assert metrics["guided"]["perplexity"] == pytest.approx(np.exp(metrics["guided"]["loss"]))
    assert metrics["difference"]["loss"]["difference"] == pytest.approx(
        metrics["guided"]["loss"] - metrics["target-only"]["loss"], abs=1e-9
    )
    assert "Answers prompts of **target**" in (result.folder / "model" / "README.md").read_text()
    texts = list(stored["prompt"])
    assert result.predict(texts)["generated"].tolist() == stored["generated"].tolist()
    assert Predictor(result.folder / "model", "cpu").answers(texts) == stored["generated"].tolist()
    assert open_run(result.folder).config.target.kind == "generation"
    assert load_config(result.folder / "config.yaml") == config  # it replays
    out = predict(result.folder, config.target.path, tmp_path / "out.jsonl", workers=2)
    assert out.tally.to_dict()["metrics"]["rows"] == 100
    served = mlflow_model(config, result.folder)
    assert served.predict(pandas.DataFrame({"text": texts[:3]}))["generated"].tolist() == list(
        stored["generated"][:3]
    )


def mlflow_model(config: Config, folder: Path):
    import mlflow

    mlflow.set_tracking_uri(config.tracking.uri)
    run = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    metrics = mlflow.get_run(run).data.metrics
    assert {"test/loss", "test/perplexity", "test/exact_match", "test/rouge_l"} <= metrics.keys()
    return mlflow.pyfunc.load_model(f"models:/{mlflow.get_run(run).outputs.model_outputs[0].model_id}")


@pytest.mark.slow
@pytest.mark.by_hand
def test_two_workers_train_under_ray(make_generation):
    config = make_generation(
        target={"max_rows": 10},
        sources=[],
        ray={"num_workers": 2},
        train={"baseline": False},
        tracking={"traces": 2},
    )
    result = train(config)
    assert result.baseline is None
    client = MlflowClient(config.tracking.uri)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    traces = client.search_traces(locations=[experiment.experiment_id])
    assert len(traces) == 2
    assert {one.name for one in traces[0].info.assessments} == {"exact_match", "rouge_l", "expected_response"}
    page = (result.folder / "report.html").read_text()
    assert "gives the reference in" in page
    assert len(pandas.read_parquet(result.folder / "predictions.parquet")) == 10


@pytest.mark.slow
def test_scores_are_kept(make_generation):
    config = make_generation()
    first, again = score(config), score(config)
    assert again.cached
    assert first.report.to_dict() == again.report.to_dict()
    assert (first.folder / "layers.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("metric", [pytest.param("loss", marks=pytest.mark.by_hand), "accuracy"])
def test_a_sweep_is_judged_on_held_out_answers(make_generation, metric):
    space = {"guidance.lambda_magnitude": {"choice": [0.0, 0.5]}}
    settings = {"search": "grid", "folds": 2, "metric": metric, "space": space}
    config = make_generation(tune=settings, sources=[], train={"max_steps": 4})
    result = tune(config)
    assert len(result.trials) == 2
    assert all(0 <= trial.accuracy <= 1 and trial.loss > 0 for trial in result.trials)
    best = load_config(result.folder / "best.yaml")
    assert best.target == config.target


@pytest.mark.slow
@pytest.mark.by_hand
def test_strategies_are_compared_by_exact_match(make_generation, generation):
    off = {"guidance": OFF}
    unseen = {**generation["sources"][0], "name": "unseen", "max_rows": 10}
    config = make_generation(
        **LORA,
        sources=[generation["sources"][0], unseen],
        target={"max_rows": 12},
        train={"max_steps": 4},
        compare={
            "strategies": [{**entry, **off} for entry in BASELINES],
            "shots": [4, 8],
            "seeds": 2,
            "unseen": ["unseen"],
        },
    )
    result = compare(config)
    assert result.total == len(result.cells) == 12
    report = (result.folder / "compare.md").read_text()
    assert "Exact match in % on all test rows" in report
    assert "token loss" in report
    assert "ROUGE-L" in report
    assert "macro-F1" not in report
    assert all(np.isfinite(cell.loss) and len(cell.right) == 12 for cell in result.cells)
    assert np.isfinite([cell.cross_task for cell in result.cells]).all()


@pytest.mark.slow
@pytest.mark.by_hand
def test_a_run_that_was_stopped_goes_on(make_generation, tmp_path):
    """As a killed driver leaves it: scores and baseline are there, the training is not."""
    config = make_generation(target={"max_rows": 10}, train={"max_steps": 6, "save_steps": 3})
    whole = train(config)
    record = json.loads((whole.folder / "run.json").read_text())
    (whole.folder / "run.json").write_text(json.dumps(record | {"status": "running"}))
    (whole.folder / "answers.json").unlink()
    resumed = train(config)
    assert resumed.metrics == whole.metrics
    assert yaml.safe_load((whole.folder / "config.yaml").read_text())["target"]["kind"] == "generation"
