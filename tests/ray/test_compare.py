"""A grid of strategies: complete, resumable after any end, and not sunk by a failing cell."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import actors
import numpy as np
import pandas
import pytest
import torch
import toy
from mlflow import MlflowClient
from typer.testing import CliRunner

from sgg_ray.cli import app
from sgg_ray.config import Config, load_config
from sgg_ray.errors import ConfigError
from sgg_ray.orchestration.compare.cell_runner import CellKey, CellRunner, Split
from sgg_ray.orchestration.compare.compare_driver import compare

pytestmark = pytest.mark.ray

SCRIPT = Path(__file__).parents[2] / "pipelines" / "compare.py"
OFF = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}
FULL = {"name": "full", "guidance": OFF}
PROBE = {"name": "probe", "guidance": OFF, "model": {"trainable": "heads"}}
SGG = {"name": "sgg"}


def content(settings, folder, strategies=(FULL, PROBE, SGG), **changes):
    common = {
        "train": {"max_steps": 4},
        "ray": {"storage_path": str(folder / "runs"), "cpus_per_worker": 1},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
        "compare": {"strategies": list(strategies), "seeds": 2, "shots": [4, 8], "max_concurrent_cells": 2},
    }
    return toy.merged(toy.merged(settings, common), changes)


def configure(settings, folder, **changes) -> Config:
    return Config.model_validate(content(settings, folder, **changes))


def cells_of(folder):
    return sorted(path.name for path in (folder / "cells").iterdir())


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory, migrated):
    folder = tmp_path_factory.mktemp("grid")
    shutil.copy(migrated, folder)
    config = configure(settings, folder)
    return config, compare(config)


def test_every_cell_is_the_training_of_one_process(finished):
    config, result = finished
    assert len(result.cells) == result.total == 3 * 2 * 2
    bench = CellRunner(config, torch.device("cpu"))
    split = Split(1, "target", 8)
    scores = bench.score(split)
    for name in ("full", "probe", "sgg"):
        own = bench.train(CellKey(name, split), scores)
        (cell,) = (cell for cell in result.cells if (cell.strategy, cell.split) == (name, ("target", 8, 1)))
        assert cell.accuracy == own["accuracy"]
        assert cell.alignment == pytest.approx(own["alignment"], abs=1e-5)
        np.testing.assert_array_equal(cell.right, [mark == "1" for mark in own["right"]])


def test_the_run_folder_holds_the_report(finished):
    _, result = finished
    names = {path.name for path in result.folder.iterdir()}
    tables = {
        "compare.md",
        "compare.csv",
        "compare.json",
        "compare.tex",
        "cells.parquet",
        "config.yaml",
        "report.html",
    }
    assert tables | {"shots.png", "ranks.png", "stability.png"} <= names
    assert json.loads((result.folder / "run.json").read_text())["status"] == "finished"
    frame = pandas.read_parquet(result.folder / "cells.parquet")
    written = pandas.read_csv(result.folder / "compare.csv")
    for _, row in written[written.shots.notna()].iterrows():
        own = frame[(frame.strategy == row.strategy) & (frame.shots == row.shots)]
        assert row["mean"] == pytest.approx(own.accuracy.mean())
    assert "no difference" in (result.folder / "compare.md").read_text()
    trainable = {row.strategy: row.measures["trainable"] for row in result.comparison.overall}
    assert trainable["probe"] == 66 < trainable["full"]


def test_mlflow_has_a_child_run_a_cell(finished):
    config, result = finished
    client = MlflowClient(tracking_uri=config.tracking.uri)
    parent = json.loads((result.folder / "run.json").read_text())["mlflow_run_id"]
    experiment = client.get_run(parent).info.experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert len(children) == len(result.cells)
    accuracies = {cell.strategy: [] for cell in result.cells}
    for child in children:
        accuracies[child.data.params["strategy"]].append(child.data.metrics["accuracy"])
        assert child.info.status == "FINISHED"
    for name, values in accuracies.items():
        assert sorted(values) == sorted(cell.accuracy for cell in result.cells if cell.strategy == name)
    row = result.comparison.at("sgg", None)
    assert client.get_run(parent).data.metrics["accuracy/sgg/all"] == pytest.approx(row.mean)


def test_a_finished_name_is_refused(finished):
    with pytest.raises(ConfigError, match="is finished"):
        compare(finished[0])


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_a_killed_process_costs_one_try_of_its_cell(settings, tmp_path):
    config = configure(settings, tmp_path)
    killed = []

    class Trouble(actors.Recorder):
        def advance(self, done, total, what, text=""):
            if done == 2 and not killed:
                killed.append(actors.processes("CellActor")[0])
                actors.kill(killed[0])

    result = compare(config, Trouble())
    assert killed
    assert len(result.cells) == 12
    assert not result.comparison.failures


@pytest.mark.usefixtures("database")
def test_the_command_prints_the_table(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "toy.yaml"
    path.write_text(
        json.dumps(content(settings, tmp_path, compare={"seeds": 1, "shots": [4], "max_concurrent_cells": 1}))
    )
    done = CliRunner().invoke(app, ["compare", str(path), "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert [row["strategy"] for row in printed["rows"]] == ["full", "probe", "sgg"]
    assert printed["folder"].endswith("toy-compare")
    again = CliRunner().invoke(app, ["compare", str(path)])
    assert again.exit_code == 2
    assert "is finished" in again.stderr


@pytest.mark.slow
def test_a_killed_driver_goes_on_with_what_is_missing(settings, tmp_path):
    """kill -9 of a whole command with a Ray of its own."""
    path = tmp_path / "toy.yaml"
    path.write_text(json.dumps(content(settings, tmp_path, compare={"seeds": 4, "max_concurrent_cells": 1})))
    log = tmp_path / "log"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with open(log, "w") as output:
        driver = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(path)],
            stdout=output,
            stderr=output,
            cwd=tmp_path,
            env=environment,
        )
    folder = tmp_path / "runs" / "toy-compare"
    deadline = time.monotonic() + 120
    while not (folder / "cells").exists() or len(cells_of(folder)) < 2:
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    kept = [name for name in cells_of(folder) if name.endswith(".json") and not name.startswith(".")]
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    config = load_config(path)
    heard = actors.Recorder()
    result = compare(config.model_copy(update={"name": "toy-compare"}), heard)
    assert len(result.cells) == result.total == 24
    assert f"{len(kept)} finished cells are kept" in heard.notes
