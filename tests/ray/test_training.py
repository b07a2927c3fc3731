"""Training under Ray Train is the training of one process, however many workers there are and whichever dies."""

import errno
import json
import shutil

import actors
import numpy as np
import pandas
import pytest
import torch
import toy
from mlflow import MlflowClient
from typer.testing import CliRunner

from sgg_ray.cli import app
from sgg_ray.config import Config
from sgg_ray.errors import ConfigError
from sgg_ray.evaluation import Reliability, fit_temperature, scaled
from sgg_ray.models import load_model, read_temperature
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.tasks import hold_out, load_tasks
from sgg_ray.training import SingleProcess, plain, predict, run_training

pytestmark = pytest.mark.ray

STEPS = 24


def configure(settings, encoder, folder, **changes) -> Config:
    common = {
        "model": {"path": str(encoder)},
        "train": {"max_steps": STEPS, "learning_rate": 1e-4, "save_steps": 8, "baseline": False},
        "ray": {"storage_path": str(folder / "runs"), "task_workers": 1},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
    }
    return Config.model_validate(toy.merged(toy.merged(settings, common), changes))


def in_process(config, weights):
    target, sources = load_tasks(config)
    return run_training(config, target, sources, weights, torch.device("cpu"))


@pytest.fixture(scope="module")
def finished(settings, still_encoder, tmp_path_factory, migrated):
    """A training that has ended, with its baseline: configuration, result, and what the listener heard."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(migrated, folder)
    config = configure(settings, still_encoder, folder, train={"baseline": True, "calibration_folds": 2})
    heard = actors.Recorder()
    return config, train(config, heard), heard


def test_it_is_the_training_of_one_process(finished):
    config, result, _ = finished
    target, _ = load_tasks(config)
    alone = in_process(config, result.report.weights)
    np.testing.assert_allclose(np.load(result.folder / "probabilities.npy"), alone.probabilities, atol=1e-5)
    baseline = run_training(plain(config), target, [], {}, torch.device("cpu"))
    found = np.load(result.folder / "baseline_probabilities.npy")
    np.testing.assert_allclose(found, baseline.probabilities, atol=1e-5)
    assert result.comparison.difference == pytest.approx(
        result.metrics.accuracy - result.baseline.accuracy, abs=1e-9
    )


def test_the_temperature_comes_from_shots_that_were_left_out(finished):
    config, result, _ = finished
    target, sources = load_tasks(config)
    folds = hold_out(target, 2, config.seed)
    predicted = [
        run_training(
            config, fold.of(target), sources, result.report.weights, torch.device("cpu")
        ).probabilities
        for fold in folds
    ]
    labels = np.concatenate([target.train.labels[fold.held] for fold in folds])
    expected = fit_temperature(np.concatenate(predicted), labels)
    assert read_temperature(result.folder / "model") == pytest.approx(expected, rel=1e-3)
    found = json.loads((result.folder / "metrics.json").read_text())["calibration"]
    assert found == result.summary["calibration"]
    assert (found["rows"], found["folds"]) == (16, 2)
    probabilities = np.load(result.folder / "probabilities.npy")
    right = probabilities.argmax(1) == target.test.labels
    confidence = scaled(probabilities, expected).max(1)
    assert found["ece"] == pytest.approx(Reliability().add(confidence, right).error, abs=1e-3)
    assert "Confidence is scaled with the temperature" in (result.folder / "model" / "README.md").read_text()


def test_the_model_is_chosen_on_shots_that_were_left_out(finished):
    config, result, _ = finished
    kept = json.loads((result.folder / "metrics.json").read_text())["kept"]
    assert kept == json.loads((result.folder / "kept.json").read_text()) == result.kept.to_dict()
    assert (kept["model"], kept["rows"]) == (result.model, 16)
    target, _ = load_tasks(config)
    (fold, _) = hold_out(target, 2, config.seed)
    alone = run_training(plain(config), fold.of(target), [], {}, torch.device("cpu")).probabilities
    np.testing.assert_allclose(np.load(result.folder / "held_out" / "target-only-1.npy"), alone, atol=1e-5)
    assert not (result.folder / "baseline_model").exists()


def test_the_run_folder_is_complete(finished):
    _, result, heard = finished
    names = {path.name for path in result.folder.iterdir()}
    assert {
        "config.yaml",
        "run.json",
        "events.jsonl",
        "scores.json",
        "metrics.json",
        "curves.png",
        "report.html",
    } <= names
    assert "ray_train" not in names  # what Ray kept for a restart has done its work
    assert json.loads((result.folder / "run.json").read_text())["status"] == "finished"
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    for run in ("guided", "target-only"):
        steps = [event["step"] for event in events if event["run"] == run and "step" in event]
        assert steps == list(range(STEPS)) == heard.seen[run]
    assert json.loads((result.folder / "metrics.json").read_text())["guided"] == result.metrics.to_dict()


def test_the_saved_model_makes_the_written_predictions(finished):
    config, result, _ = finished
    model, head = load_model(result.folder / "model")
    target, _ = load_tasks(config)
    assert head == target.head
    again = predict(model, model.tokenise(target, target.test), 16, SingleProcess())
    written = pandas.read_parquet(result.folder / "predictions.parquet")
    assert tuple(written.text) == target.test.texts
    np.testing.assert_allclose(written[["p_negative", "p_positive"]], again, atol=1e-6)
    accuracy = (written.label == written.predicted).mean()
    assert accuracy == pytest.approx(result.metrics.accuracy)
    assert (result.folder / "model" / "README.md").read_text().startswith("---")


def test_mlflow_has_parameters_curves_results_and_the_model(finished):
    config, result, _ = finished
    client = MlflowClient(config.tracking.uri)
    run = client.get_run(json.loads((result.folder / "run.json").read_text())["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.max_steps"] == str(STEPS)
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(STEPS))
    assert run.data.metrics["test/accuracy"] == pytest.approx(result.metrics.accuracy)
    assert {"target-only/loss", "tokens_per_second", "data_share"} <= run.data.metrics.keys()
    assert "metrics.json" in {entry.path for entry in client.list_artifacts(run.info.run_id)}
    (model,) = run.outputs.model_outputs
    assert str(client.get_logged_model(model.model_id).status) == "READY"


def test_a_finished_name_is_refused(finished):
    config, result, _ = finished
    before = (result.folder / "run.json").read_bytes()
    with pytest.raises(ConfigError, match="is finished; choose another --name"):
        train(config)
    assert (result.folder / "run.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.by_hand  # test_fsdp.py kills one of two as well, and cluster/test_lose_a_node.py one with its node
@pytest.mark.usefixtures("database")
def test_two_workers_of_which_one_is_killed(settings, still_encoder, tmp_path):
    """The group restarts from the last checkpoint and ends where one undisturbed process ends."""
    config = configure(settings, still_encoder, tmp_path, ray={"num_workers": 2}, train={"logging_steps": 1})
    killed = []

    def strike():
        workers = actors.processes("RayTrainWorker")
        assert len(workers) == 2
        killed.append(workers[-1].pid)
        actors.kill(workers[-1])

    heard = actors.Recorder(at={10: strike})
    result = train(config, heard)
    assert len(killed) == 1
    assert heard.seen["guided"] == list(range(STEPS))  # steps that ran again are told once
    alone = in_process(config, result.report.weights)
    np.testing.assert_allclose(np.load(result.folder / "probabilities.npy"), alone.probabilities, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_weights_follow_the_model_and_late_scores_only_warn(settings, encoder, tmp_path):
    # Long enough that scores arrive before the workers stop, and refreshes are due after it, on a busy machine too.
    steps = {"max_steps": 800, "logging_steps": 4, "save_steps": 400}
    config = configure(settings, encoder, tmp_path, alignment={"refresh_interval": 4}, train=steps)
    stopped = []

    def stop():
        stopped.extend(actors.processes("TaskWorker"))
        for process in stopped:
            process.suspend()  # alive, but it will never answer

    heard = actors.Recorder(at={300: stop})
    result = train(config, heard)
    assert stopped
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    arrived = [event["scores"] for event in events if "scores" in event]
    assert arrived
    assert all(report["step"] > 0 and report["step"] % 4 == 0 for report in arrived)
    last = {row["source"]: row["weight"] for row in arrived[-1]["sources"]}
    assert result.summary["weights"] == pytest.approx(last)
    late = [note for note in heard.notes if "are late at step" in note]
    assert len(late) == result.summary["late_updates"] >= 3
    assert result.metrics.rows == len(load_tasks(config)[0].test)


@pytest.mark.slow
@pytest.mark.by_hand  # the next test stops one in the same place, and more is broken there
@pytest.mark.usefixtures("database")
def test_a_run_that_was_stopped_after_its_last_step_is_not_trained_again(
    settings, encoder, tmp_path, monkeypatch
):
    config = configure(settings, encoder, tmp_path, sources=[], train={"max_steps": 4})

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sgg_ray.orchestration.train.train_driver._take_over", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    folder = tmp_path / "runs" / config.name
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    heard = actors.Recorder()
    result = train(config, heard)
    assert heard.seen == {}
    np.testing.assert_allclose(
        np.load(result.folder / "probabilities.npy"), in_process(config, {}).probabilities, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_a_torn_snapshot_costs_no_more_than_the_steps_since_the_last_whole_checkpoint(
    settings, still_encoder, tmp_path, monkeypatch
):
    config = configure(settings, still_encoder, tmp_path, sources=[])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sgg_ray.orchestration.train.train_driver._take_over", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*toy'"):
            train(config)
    (tmp_path / "runs" / config.name / "ray_train" / "checkpoint_manager_snapshot.json").write_text("")
    heard = actors.Recorder()
    result = train(config, heard)
    assert any("is damaged; resuming from the last complete checkpoint" in note for note in heard.notes)
    assert heard.seen["guided"] == list(range(STEPS - 8, STEPS))
    np.testing.assert_allclose(
        np.load(result.folder / "probabilities.npy"), in_process(config, {}).probabilities, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_a_training_that_cannot_go_on_is_one_line(write_config, tmp_path, monkeypatch):
    """Steps without end make every loss NaN. It would happen again, so nobody tries again."""
    monkeypatch.chdir(tmp_path)
    rates = {"learning_rate": 1e30, "head_learning_rate": 1e30, "warmup_ratio": 0.0}
    path = write_config(sources=[], train={"max_steps": 40, "save_steps": 2, **rates})
    result = CliRunner().invoke(app, ["train", str(path)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: training stopped at step ")
    assert "steps in a row had a gradient that was not finite" in line
    folder = tmp_path / "runs" / "toy"
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    guided = [event["step"] for event in events if event["run"] == "guided"]
    assert guided == sorted(set(guided))
    assert guided[-1] < 20
