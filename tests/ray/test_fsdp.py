"""A language model in parts on two workers under Ray Train: scored, hit in mid-training, compared with its baseline."""

import json
import time

import actors
import numpy as np
import pytest
import torch
import toy

from sgg_ray.config import Config, strategy_configs, with_values
from sgg_ray.evaluation import PairedComparison
from sgg_ray.models import load_model
from sgg_ray.orchestration.compare.compare_driver import compare
from sgg_ray.orchestration.train import torch_trainer
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.orchestration.tune.tune_driver import tune
from sgg_ray.scoring import mixture, score_sharded
from sgg_ray.tasks import hold_out, load_tasks
from sgg_ray.training import (
    LabelPredictions,
    SingleProcess,
    load_predictions,
    plain,
    predict,
    predictions_path,
    run_training,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]
STEPS = 16


class Strike(actors.Recorder):
    """Kills a worker at a step, and remembers how long the next step took to come."""

    def __init__(self, at: int):
        super().__init__(at={at: self.strike})
        self.killed: list[float] = []
        self.silence = float("nan")

    def strike(self) -> None:
        workers = actors.processes("RayTrainWorker")
        assert len(workers) == 2
        actors.kill(workers[-1])
        self.killed.append(time.monotonic())

    def steps(self, run, events, total):
        if self.killed and np.isnan(self.silence):
            self.silence = time.monotonic() - self.killed[0]
        super().steps(run, events, total)


@pytest.fixture
def whole(settings, lm, tmp_path):
    """The settings of a training of the toy language model in one process."""
    common = {
        "model": {"path": str(lm)},
        "train": {"max_steps": STEPS, "learning_rate": 1e-5, "save_steps": 4, "logging_steps": 1}
        | {"baseline": False, "max_length": 40},
        "ray": {"storage_path": str(tmp_path / "runs")},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    return toy.merged(settings, common)


def sharded(whole, **train):
    parts = {"ray": {"sharding": "fsdp", "num_workers": 2}, "train": train}
    return Config.model_validate(toy.merged(whole, parts))


@pytest.mark.usefixtures("database")
def test_a_worker_with_a_part_of_the_model_is_killed(whole, monkeypatch):
    config, heard, results = sharded(whole), Strike(9), []

    def kept(*arguments, run=torch_trainer._run):
        results.append(run(*arguments))
        return results[-1]

    monkeypatch.setattr(torch_trainer, "_run", kept)
    result = train(config, heard)
    assert len(heard.killed) == 1
    assert heard.seen["guided"] == list(range(STEPS))
    print(f"the next step came {heard.silence:.0f} s after a worker was killed")

    target, sources = load_tasks(config)
    scored = score_sharded(Config.model_validate(whole), target, sources, torch.device("cpu"))
    for name, score in scored.gradients.scores(0.95).items():
        (row,) = (row for row in result.report.sources if row.source == name)
        assert row.score.value == pytest.approx(score.value, abs=1e-4)
        assert result.report.layers[name] == pytest.approx(scored.layers[name], abs=1e-4)

    plain_config = Config.model_validate(whole)
    alone = run_training(plain_config, target, sources, result.report.weights, torch.device("cpu"))
    stored = np.load(result.folder / "probabilities.npy")
    np.testing.assert_allclose(stored, alone.probabilities, atol=1e-4)
    model, _ = load_model(result.folder / "model")
    again = predict(model, model.tokenise(target, target.test), 16, SingleProcess())
    np.testing.assert_allclose(again, stored, atol=1e-5)

    # What Ray itself has heard: the last step's losses and throughput, and of all checkpoints the last two.
    (seen,) = results
    assert {"loss", "source_loss", "tokens_per_second", "seconds"} <= seen.metrics.keys()
    assert seen.metrics["step"] == STEPS
    assert seen.metrics["final"] is True
    kept_ones = [metrics for _, metrics in seen.best_checkpoints]
    assert [metrics["final"] for metrics in kept_ones] == [False, True]
    assert all(metrics["loss"] > 0 for metrics in kept_ones)


@pytest.mark.by_hand
@pytest.mark.usefixtures("database")
def test_baseline_and_calibration_of_a_model_in_parts(whole):
    refreshed = toy.merged(whole, {"alignment": {"refresh_interval": 4}})
    config = sharded(refreshed, baseline=True, calibration_folds=2, max_steps=8)
    heard = actors.Recorder()
    result = train(config, heard)
    target, _ = load_tasks(config)
    alone = plain(Config.model_validate(toy.merged(whole, {"train": {"max_steps": 8}})))
    expected = run_training(alone, target, [], {}, torch.device("cpu")).probabilities
    found = load_predictions(predictions_path(result.folder, target, "baseline_"), target)
    assert isinstance(found, LabelPredictions)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    assert isinstance(result.comparison, PairedComparison)
    assert result.comparison.rows == len(target.test)
    assert heard.seen["target-only"][-1] == 7
    assert (result.folder / "calibration.json").exists()
    told = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    assert [event["scores"]["step"] for event in told if "scores" in event] == [4]
    held = sorted(path.name for path in (result.folder / "held_out").glob("*.npy"))
    assert len(held) == 4
    assert not list(result.folder.glob("ray_*"))


@pytest.mark.by_hand
@pytest.mark.usefixtures("database")
def test_trials_of_a_model_in_parts(whole):
    key = "guidance.lambda_direction"
    settings = {"space": {key: {"choice": [0.0, 0.4]}}, "search": "grid", "folds": 2}
    config = Config.model_validate(
        toy.merged(
            whole,
            {"ray": {"sharding": "fsdp", "num_workers": 2}, "train": {"max_steps": 4}, "tune": settings},
        )
    )
    result = tune(config)
    assert [trial.status for trial in result.trials] == ["finished"] * 2
    alone = Config.model_validate(toy.merged(whole, {"train": {"max_steps": 4}, "tune": settings}))
    target, sources = load_tasks(alone)
    for trial in result.trials:
        own = with_values(alone, trial.values)
        for fold, losses in zip(hold_out(target, 2, own.seed), trial.losses, strict=True):
            shots = fold.of(target)
            scored = score_sharded(own, shots, sources, torch.device("cpu"))
            weights = mixture(scored.gradients.scores(0.95), own.alignment.weighting)
            expected = run_training(own, shots, sources, weights, torch.device("cpu")).predictions
            np.testing.assert_allclose(losses, expected.losses, atol=1e-4)


@pytest.mark.by_hand
@pytest.mark.usefixtures("database")
def test_cells_of_a_model_in_parts(whole):
    off = dict.fromkeys(("lambda_direction", "lambda_magnitude", "lambda_alignment", "lambda_source"), 0)
    strategies = [
        {"name": "plain", "guidance": off},
        {"name": "untrained", "guidance": off, "train": {"method": "zero_shot"}},
    ]
    grid = {"compare": {"strategies": strategies, "seeds": 1}, "train": {"max_steps": 4}}
    config = Config.model_validate(
        toy.merged(toy.merged(whole, grid), {"ray": {"sharding": "fsdp", "num_workers": 2}})
    )
    result = compare(config)
    assert [cell.strategy for cell in result.cells] == ["plain", "untrained"]
    assert result.comparison.failures == {}
    target, _ = load_tasks(Config.model_validate(whole))
    for cell, own in zip(
        result.cells, strategy_configs(Config.model_validate(toy.merged(whole, grid))).values()
    ):
        expected = run_training(own, target, [], {}, torch.device("cpu")).predictions
        assert cell.accuracy == expected.metrics().of_cell()["accuracy"]
    assert not list(result.folder.glob("ray_*"))
