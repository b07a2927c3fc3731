"""`sgg train` from end to end without processes: what runs, in which order, and what a stopped run does again."""

import json
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import toy
from mlflow import MlflowClient

from sgg_ray.config import load_config
from sgg_ray.models import load_model
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.score.row_scoring import weights_of_rows
from sgg_ray.orchestration.train.history import History, save_histories
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.orchestration.train.train_worker import write_model, write_result
from sgg_ray.tasks import load_tasks
from sgg_ray.training import Hooks, SingleProcess, predict, run_training

pytestmark = pytest.mark.usefixtures("database")


class Heard(NullListener):
    """Remembers stages; interrupts at the one that begins with ``stop_at``."""

    def __init__(self, stop_at=None):
        self.stop_at, self.stages, self.notes = stop_at, [], []

    def stage(self, text):
        self.stages.append(text)
        if self.stop_at and text.startswith(self.stop_at):
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def run(make_config, tmp_path):
    """Run the driver with one CPU or more; the training itself runs here, in place of Ray Train."""
    trained = []

    @contextmanager
    def fit(session, weights, workers, inbox):
        trained.append(weights)
        history = History("guided", inbox.log)
        hooks = Hooks(on_events=history.steps)
        device = torch.device("cpu")
        outcome = run_training(session.config, session.target, session.sources, weights, device, hooks=hooks)
        folder = tmp_path / f"training-{len(trained)}"
        folder.mkdir()
        write_model(folder, outcome, session.config, session.target)
        write_result(folder, outcome, session.target)
        save_histories(folder, [history])
        yield folder

    def start(listener=None, cpus=1, **changes):
        executor = InProcessExecutor([Resources(cpus=cpus)])
        return train(make_config(ray={"task_workers": 1}, **changes), listener, executor, fit), trained

    return start


def test_sources_are_scored_first_and_the_baseline_comes_after_where_there_is_no_room(run):
    heard = Heard()
    result, trained = run(heard)
    assert [stage for stage in heard.stages if "scoring" in stage or "training" in stage] == [
        "scoring the sources",
        "training, 1 worker",
        "training the target-only baseline",
    ]
    assert trained == [result.report.weights]
    assert result.report.weights["flipped"] == 0.0
    assert result.comparison.rows == result.metrics.rows == result.baseline.rows
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    for name in ("guided", "target-only"):
        assert [event["step"] for event in events if event.get("run") == name] == list(range(8))


def test_a_stopped_run_trains_only_what_is_missing(run):
    with pytest.raises(KeyboardInterrupt):
        run(Heard(stop_at="training the target-only baseline"), sources=[])
    heard = Heard()
    result, trained = run(heard, cpus=2, sources=[])
    assert len(trained) == 1  # the guided training had ended
    assert any(stage.endswith("beside the target-only baseline") for stage in heard.stages)
    assert (
        json.loads((result.folder / "metrics.json").read_text())["target-only"]["rows"] == result.metrics.rows
    )
    assert json.loads((result.folder / "run.json").read_text())["status"] == "finished"


def metrics_of_the_run(tmp_path):
    """What MLflow has of the one run."""
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs(["1"], "attributes.run_name = 'toy'")
    return run.data.metrics


def test_a_guided_model_that_sources_ruin_gives_way_to_the_baseline(run, settings, tmp_path):
    spoilt = [source for source in settings["sources"] if source["name"] == "flipped"]
    rates = {"max_steps": 60, "learning_rate": 1e-3}
    result, _ = run(
        sources=spoilt,
        target={"shots": 24},
        alignment={"weighting": "uniform"},
        train={"baseline": True, "calibration_folds": 2, **rates},
    )
    assert (result.kept.verdict, result.model) == ("worse", "target-only")
    target, _ = load_tasks(load_config(result.folder / "config.yaml"))
    model, _ = load_model(result.folder / "model")
    again = predict(model, model.tokenise(target, target.test), 16, SingleProcess())
    np.testing.assert_allclose(again, np.load(result.folder / "baseline_probabilities.npy"), atol=1e-5)
    written = pd.read_parquet(result.folder / "predictions.parquet")
    assert (written.label == written.predicted).mean() == pytest.approx(result.baseline.accuracy)
    logged = metrics_of_the_run(tmp_path)
    assert logged["test/accuracy"] == pytest.approx(result.baseline.accuracy)
    assert logged["held_out/loss_gain"] < 0


def test_without_test_rows_the_estimate_is_cross_validated(run, tmp_path):
    folds = {"baseline": True, "calibration_folds": 3, "max_steps": 24, "learning_rate": 1e-4}
    result, _ = run(sources=[], target={"shots": "all", "test": {"fraction": 0}}, train=folds)
    assert result.metrics.rows == result.baseline.rows == 120
    assert result.metrics.accuracy_high - result.metrics.accuracy_low > 0.05
    written = pd.read_parquet(result.folder / "predictions.parquet")
    assert len(written) == 120
    kept = result.of_model
    assert (written.label == written.predicted).mean() == pytest.approx(kept.accuracy)
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics["evaluated"] == "held-out rows"
    assert "ece" not in metrics["calibration"]
    assert any("cross-validation" in line for line in result.conclusions())
    assert "these figures are of cross-validation" in (result.folder / "model" / "README.md").read_text()
    logged = metrics_of_the_run(tmp_path)
    assert logged["cross_validation/accuracy"] == pytest.approx(kept.accuracy)
    assert not any(name.startswith("test/") for name in logged)
    labelled = result.predict(["good1 good2 good3 word1"])
    assert labelled.predicted[0] in ("negative", "positive")


def test_rows_that_are_likely_wrong_are_not_drawn(run, data: Path):
    heard = Heard()
    result, _ = run(
        heard,
        sources=[{"name": "some", "path": str(data / "clean.jsonl"), "flip_labels": 0.3}],
        alignment={"row_weighting": "keep"},
        train={"max_steps": 12, "baseline": False, "learning_rate": 1e-4},
    )
    config = load_config(result.folder / "config.yaml")
    target, (source,) = load_tasks(config)
    frame = pd.read_parquet(result.folder / "rows.parquet")
    weights = weights_of_rows([source], frame)["some"]
    assert 0.1 < (weights == 0).mean() < 0.4
    assert any("rows left out" in note for note in heard.notes)
    assert result.report.sources[0].rows <= (weights > 0).sum()  # scored anew, without them
    kept = source.__class__(**{**source.__dict__, "train": source.train.weighted(weights)})
    alone = run_training(config, target, [kept], result.report.weights, torch.device("cpu"))
    np.testing.assert_allclose(np.load(result.folder / "probabilities.npy"), alone.probabilities, atol=1e-5)


@pytest.mark.slow
def test_an_encoder_decoder_model_is_scored_trained_and_logged(run, t5, tmp_path, settings):
    """With LoRA, beside a source of completions; MLflow's model needs no other folder."""
    answers = str(toy.write_rows(tmp_path / "answers.jsonl", toy.answers(60, 3)))
    lora = {"peft_type": "lora", "r": 4, "target_modules": ["q", "v", "wo"]}
    result, _ = run(
        model={"path": str(t5), "adapter": lora},
        sources=[*settings["sources"][:2], {"name": "answers", "path": answers, "kind": "generation"}],
        train={"max_length": 32, "max_steps": 16, "learning_rate": 0.01},
    )
    assert result.report.weights["flipped"] == 0.0 < result.report.weights["clean"]
    written = pd.read_parquet(result.folder / "predictions.parquet").head(5)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    (logged,) = mlflow.search_logged_models(["1"], output_format="list")
    found = mlflow.pyfunc.load_model(logged.model_uri).predict(written[["text"]])
    np.testing.assert_allclose(found.p_positive, written.p_positive, atol=1e-5)
