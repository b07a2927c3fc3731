"""A sweep searches on held-out shots alone, survives bad trials and a killed driver, and is all in MLflow."""

import contextlib
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import psutil
import pytest
import torch
import toy
import yaml
from mlflow import MlflowClient

from sgg_ray.config import Config, load_config, with_values
from sgg_ray.errors import CapacityError, ClusterError, ConfigError
from sgg_ray.orchestration.tune.tune_driver import tune
from sgg_ray.tasks import hold_out, load_tasks
from sgg_ray.training import run_training

pytestmark = pytest.mark.ray

COMMAND = [sys.executable, "-c", "from sgg_ray.cli import main; main()"]


def configure(settings, folder, space, *, tune=None, **changes) -> Config:
    common = {
        "name": "sweep",
        "train": {"max_steps": 4},
        "tune": {"space": space, "search": "random", **(tune or {})},
        "ray": {"storage_path": str(folder / "runs"), "task_workers": 1},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
    }
    return Config.model_validate(toy.merged(toy.merged(settings, common), changes))


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory, migrated):
    """A sweep with Optuna over a range and a choice, two seeds each."""
    space = {
        "guidance.lambda_direction": {"log_uniform": [0.01, 1.0]},
        "alignment.weighting": {"choice": ["relu", "uniform"]},
    }
    tune_settings = {"search": "optuna", "num_samples": 3, "folds": 2, "seeds": 2, "metric": "accuracy"}
    folder = tmp_path_factory.mktemp("sweep")
    shutil.copy(migrated, folder)
    config = configure(settings, folder, space, tune=tune_settings)
    return config, tune(config)


def test_every_trial_is_judged_on_every_shot_and_on_no_test_row(finished):
    config, result = finished
    target, _ = load_tasks(config)
    assert len(result.trials) == 3
    for trial in result.trials:
        assert trial.status == "finished"
        assert len(trial.losses) == 4  # two parts, two seeds
        assert len(trial.badness("loss")) == 2 * len(target.train)
    assert [trial.accuracy for trial in result.trials] == sorted(
        (trial.accuracy for trial in result.trials), reverse=True
    )


def test_the_files_own_values_are_the_first_trial(finished):
    config, result = finished
    (first,) = [trial for trial in result.trials if trial.number == 1]
    assert first.own
    assert first.values == {
        "guidance.lambda_direction": config.guidance.lambda_direction,
        "alignment.weighting": config.alignment.weighting,
    }


def test_the_best_configuration_is_ready_to_train(finished):
    config, result = finished
    best = load_config(result.folder / "best.yaml")
    assert best.guidance.lambda_direction == pytest.approx(result.best.values["guidance.lambda_direction"])
    assert best.alignment.weighting == result.best.values["alignment.weighting"]
    assert (best.name, best.tune) == ("sweep-best", None)
    assert best.target == config.target


def test_tables_and_pictures_lie_in_the_run_folder(finished):
    _, result = finished
    frame = pandas.read_parquet(result.folder / "trials.parquet")
    assert frame.trial.tolist() == [trial.number for trial in result.trials]
    assert frame.within_noise_of_best[0]
    assert (result.folder / "parallel.png").exists()
    assert "sgg tune config.yaml --name" in (result.folder / "report.html").read_text()
    assert not (result.folder / "ray_tune").exists()
    assert json.loads((result.folder / "run.json").read_text())["status"] == "finished"


def test_mlflow_has_a_child_run_a_trial(finished):
    config, result = finished
    client = MlflowClient(config.tracking.uri)
    parent = json.loads((result.folder / "run.json").read_text())["mlflow_run_id"]
    experiment = client.get_run(parent).info.experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert len(children) == 3
    by_number = {int(child.data.tags["sgg.trial"]): child for child in children}
    for trial in result.trials:
        data = by_number[trial.number].data
        assert by_number[trial.number].info.status == "FINISHED"
        assert data.metrics["validation/accuracy"] == pytest.approx(trial.accuracy)
        assert next(iter(data.metrics)) == "validation/accuracy"  # what MLflow's comparison opens with
        assert len(client.get_metric_history(by_number[trial.number].info.run_id, "loss")) == 4  # steps
        assert float(data.params["guidance.lambda_direction"]) == pytest.approx(
            trial.values["guidance.lambda_direction"]
        )
    note = client.get_run(parent).data.tags["mlflow.note.content"]
    assert f"best: trial {result.best.number}" in note


@pytest.mark.slow
@pytest.mark.by_hand
@pytest.mark.usefixtures("database")
def test_a_grid_with_a_bad_value_marks_its_trial_and_goes_on(settings, tmp_path):
    space = {"train.learning_rate": {"choice": [1e-3, 1e30]}, "train.warmup_ratio": {"choice": [0.0]}}
    steps = {"max_steps": 12, "head_learning_rate": 1e-2}
    config = configure(
        settings, tmp_path, space, tune={"search": "grid", "folds": 2}, sources=[], train=steps
    )
    result = tune(config)
    good, bad = result.trials
    assert (good.status, bad.status) == ("finished", "failed")
    assert good.values["train.learning_rate"] == 1e-3
    assert "not finite" in bad.note
    child = MlflowClient(config.tracking.uri).search_runs(["1"], "attributes.status = 'FAILED'")
    assert len(child) == 1


@pytest.mark.slow
@pytest.mark.by_hand
@pytest.mark.usefixtures("database")
def test_a_sweep_in_which_nothing_finishes_fails(settings, tmp_path):
    space = {"train.learning_rate": {"choice": [1e30]}}
    config = configure(
        settings,
        tmp_path,
        space,
        tune={"search": "grid"},
        sources=[],
        train={"max_steps": 12, "warmup_ratio": 0.0},
    )
    with pytest.raises(ClusterError, match=r"no trial finished \(training stopped at step"):
        tune(config)
    assert json.loads((tmp_path / "runs/sweep/run.json").read_text())["status"] == "failed"
    assert not (tmp_path / "runs/sweep/best.yaml").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_asha_stops_trials_after_their_first_parts(settings, tmp_path):
    space = {"train.head_learning_rate": {"choice": [1e-2, 1e-7]}}
    tune_settings = {"num_samples": 8, "scheduler": "asha", "folds": 4, "max_concurrent_trials": 1}
    config = configure(settings, tmp_path, space, tune=tune_settings, sources=[], train={"max_steps": 8})
    result = tune(config)
    stopped = [trial for trial in result.trials if trial.values["train.head_learning_rate"] == 1e-7]
    assert stopped
    # One after the other, the first with the file's own good value. A bad one is stopped as soon as it is seen, but
    # for one that equals the median of those before, which are bad too: it goes on to its second training.
    assert {trial.status for trial in stopped} == {"stopped"}
    assert all(len(trial.losses) <= 2 for trial in stopped)
    assert result.best.status == "finished"
    assert result.best.values["train.head_learning_rate"] == 1e-2


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_scores_are_taken_without_the_held_out_shots(settings, tmp_path, monkeypatch):
    """Held-out labels that are all wrong change no weight of their own part."""
    from sgg_ray.orchestration.score.task_workers import TaskWorkers

    asked = []
    score = TaskWorkers.score

    def listen(self, *args, kept=None, **more):
        asked.append(kept)
        return score(self, *args, kept=kept, **more)

    monkeypatch.setattr(TaskWorkers, "score", listen)
    config = configure(
        settings,
        tmp_path,
        {"model.pooling": {"choice": ["mean", "cls"]}},
        tune={"search": "grid", "folds": 2},
    )
    result = tune(config)
    assert {trial.status for trial in result.trials} == {"finished"}
    target, _ = load_tasks(config)
    assert len(asked) == 4  # two parts, scored for each of two ways of pooling
    for first, second in (asked[:2], asked[2:]):
        assert sorted(np.concatenate([first, second])) == list(range(len(target.train)))


@pytest.mark.slow
@pytest.mark.by_hand
@pytest.mark.usefixtures("database")
def test_a_trial_of_two_workers_is_that_of_one_process(settings, still_encoder, tmp_path):
    """Four CPUs, two workers a trial: trials find their workers, and train what one process trains."""
    space = {"guidance.lambda_direction": {"choice": [0.1, 0.5]}}
    config = configure(
        settings,
        tmp_path,
        space,
        model={"path": str(still_encoder)},
        tune={"search": "grid", "folds": 1},
        ray={"num_workers": 2},
    )
    result = tune(config)
    target, sources = load_tasks(config)
    (fold,) = hold_out(target, 1, config.seed)
    part = fold.of(target)
    for trial in result.trials:
        weights = {
            "clean": 1.0,
            "flipped": 0.0,
        }  # whatever the scores are exactly, the flipped one gets nothing
        alone = run_training(with_values(config, trial.values), part, sources, weights, torch.device("cpu"))
        expected = -np.log(alone.probabilities[np.arange(len(part.test)), part.test.labels])
        np.testing.assert_allclose(trial.losses, [expected], atol=1e-4)


def test_what_cannot_work_is_said_before_anything_starts(settings, tmp_path):
    space = {"guidance.lambda_direction": {"choice": [0.1]}}
    for changes, place in (
        ({"ray": {"num_workers": 9}}, "ray.num_workers"),
        ({"tune": {"folds": 9}}, "tune.folds"),
    ):
        config = configure(settings, tmp_path, space, **changes)
        with pytest.raises((ConfigError, CapacityError), match=rf"^{place}: "):
            tune(config)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_without_mlflow_the_task_workers_that_were_started_end(settings, tmp_path):
    """They load the model while MLflow is opened. That none is left is seen after each test of this folder."""
    space = {"guidance.lambda_direction": {"choice": [0.1]}}
    config = configure(settings, tmp_path, space)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.executescript(
            "create table alembic_version (version_num text); insert into alembic_version values (7)"
        )
    with pytest.raises(ClusterError, match=r"^tracking\.uri: cannot use MLflow"):
        tune(config)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_killed_sweep_keeps_its_trials_and_goes_on(settings, tmp_path):
    """kill -9 of the driver in mid-sweep, then the same command: every training was done once, or was under way."""
    space = {"guidance.lambda_direction": {"log_uniform": [0.01, 1.0]}}
    config = configure(
        settings, tmp_path, space, tune={"num_samples": 6, "folds": 2}, sources=[], train={"max_steps": 150}
    )
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    arguments = [*COMMAND, "tune", str(path), "--name", "sweep"]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    driver = subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seen: list[str] = []
    assert driver.stdout is not None
    for line in driver.stdout:  # ends with the process at the latest
        seen.append(line)
        if sum(text.startswith("trial ") and "  loss " in text and "/" not in text for text in seen) >= 2:
            break
    # Ray's two agents notice a minute later that their node has gone; they are not the project's.
    daemons = [
        process
        for process in psutil.Process(driver.pid).children(recursive=True)
        if not process.name().endswith("Agent")
    ]
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(seen) > 5, seen
    _, alive = psutil.wait_procs(daemons, timeout=60)
    assert not alive, "processes outlive a killed driver"
    pickles = list((tmp_path / "runs" / "sweep" / "ray_tune").glob("**/*.pkl"))
    assert pickles
    for file in pickles:  # what somebody else's folder may hold
        file.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    before = _first_steps(tmp_path / "runs" / "sweep")
    again = subprocess.run(
        arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "finished trials are kept, the others resume" in again.stdout
    frame = pandas.read_parquet(tmp_path / "runs/sweep/trials.parquet")
    assert sorted(frame.trial) == [1, 2, 3, 4, 5, 6]
    assert set(frame.status) == {"finished"}
    after = _first_steps(tmp_path / "runs" / "sweep")
    assert set(after) == {(f"trial {trial}", training) for trial in range(1, 7) for training in range(2)}
    repeated = {key for key, count in after.items() if count > 1}
    assert repeated <= set(before)
    assert len(repeated) <= 2  # one for each of the trials that were under way
    assert not (tmp_path / "exploded").exists()


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


def _first_steps(folder: Path) -> dict[tuple[str, int], int]:
    """How often each training of each trial began."""
    counts: dict[tuple[str, int], int] = {}
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event.get("step") == 0:
            key = (event["run"], event["training"])
            counts[key] = counts.get(key, 0) + 1
    return counts
