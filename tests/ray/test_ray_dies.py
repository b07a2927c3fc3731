"""Every command that needs Ray ends in one line when Ray's GCS or raylet is killed, and can be given again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import actors
import pytest
import toy
import yaml

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SECONDS = 300  # most that a command may take to where it is struck, on a busy machine
COMMAND = [sys.executable, "-c", "from sgg_ray.cli import main; main()"]
by_hand = pytest.mark.by_hand
# What the terminal shows when Ray works for the command.
CASES = [
    pytest.param("score", "raylet", "loading the model in the task workers"),
    pytest.param("score", "gcs_server", "loading the model in the task workers", marks=by_hand),
    pytest.param("tune", "gcs_server", "trials", marks=by_hand),
    pytest.param("tune", "raylet", "trials", marks=by_hand),
    pytest.param("compare", "gcs_server", "cells", marks=by_hand),
    pytest.param("compare", "raylet", "cells", marks=by_hand),
    pytest.param("predict", "gcs_server", "/200", marks=by_hand),
    pytest.param("predict", "raylet", "/200", marks=by_hand),
]


def arguments(command: str, settings: dict, run: Path, folder: Path) -> list[str]:
    """The command line of a piece of work that takes long enough to be struck."""
    if command == "predict":
        data = toy.write_rows(folder / "rows.jsonl", toy.sentences(200_000, seed=9))
        return ["predict", str(run), "--data", str(data), "--out", str(folder / "out.csv"), "--workers", "1"]
    changes = {
        "train": {"max_steps": 400},
        "tune": {"space": {"train.learning_rate": {"choice": [1e-4, 1e-3]}}, "num_samples": 2},
        "compare": {"strategies": ["full", "sgg"], "seeds": 2},
        "ray": {"storage_path": str(folder / "runs"), "task_workers": 1},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
    }
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(toy.merged(settings, changes)))
    return [command, str(path)]


@pytest.mark.parametrize(("command", "victim", "sign"), CASES)
def test_one_line_and_nothing_half_written(settings, finished_run, tmp_path, command, victim, sign):
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    log = tmp_path / "log"
    with open(log, "w") as output:
        given = [*COMMAND, *arguments(command, settings, finished_run, tmp_path)]
        driver = subprocess.Popen(given, stdout=output, stderr=output, env=environment)
    deadline = time.monotonic() + SECONDS
    while sign not in log.read_text():
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    code = actors.end_by_killing(driver, victim)
    actors.require_ray_died(victim, code, log.read_text())
    assert not list(tmp_path.glob("out.csv")) + list(tmp_path.glob(".out.csv*"))
    if command == "score":
        again = subprocess.run(given, env=environment, capture_output=True, text=True, timeout=SECONDS)
        assert again.returncode == 0, again.stderr
