"""A node of three dies while a run goes on: the run ends as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
import yaml

from sgg_ray.config import load_config
from sgg_ray.errors import CapacityError
from sgg_ray.models import build_model
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training

pytestmark = pytest.mark.ray
SCRIPT = Path(__file__).with_name("lose_a_node.py")
BOUND = 400  # seconds for a whole run; the longest wait inside is far below


@pytest.fixture
def lose_a_node(settings, still_encoder, tmp_path):
    """Run one case with changes to the toy settings; returns (configuration, what came of it)."""
    common = {
        "model": {"path": str(still_encoder)},
        "train": {
            "max_steps": 40,
            "learning_rate": 1e-4,
            "logging_steps": 1,
            "save_steps": 5,
            "baseline": False,
        },
        "ray": {"storage_path": str(tmp_path / "runs"), "task_workers": 2, "cpus_per_task_worker": 1},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }

    def run(case: str, moment: float, **changes: Any):
        path = tmp_path / f"{case}{moment}.yaml"
        path.write_text(
            yaml.safe_dump(toy.merged(toy.merged(settings, common), {"name": path.stem, **changes}))
        )
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        output = path.with_suffix(".json")
        command = [sys.executable, str(SCRIPT), case, str(path), str(moment), str(output)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BOUND
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        found = json.loads(output.read_text())
        assert found["killed"], "no node with work was there to be lost"
        return load_config(path), found

    return run


@pytest.mark.slow
def test_a_training_ends_with_the_parameters_of_an_undisturbed_one(lose_a_node):
    config, found = lose_a_node("training", 12, ray={"num_workers": 2})
    target, sources = load_tasks(config)
    stored = json.loads((Path(config.ray.storage_path) / config.name / "scores.json").read_text())
    weights = {row["source"]: row["weight"] for row in stored["sources"]}
    alone = run_training(config, target, sources, weights, torch.device("cpu"))
    np.testing.assert_allclose(found["probabilities"], alone.probabilities, atol=1e-4)


@pytest.mark.slow
@pytest.mark.by_hand
def test_workers_come_and_go(lose_a_node):
    """One node at first, then two, then one again: the end is that of a training in one process."""
    train = {"max_steps": 2000, "learning_rate": 1e-5, "logging_steps": 10, "save_steps": 20}
    ray = {"num_workers": 2, "min_workers": 1}
    config, found = lose_a_node("elastic", 1, ray=ray, train=train, sources=[])
    assert found["workers"] == [1.0, 2.0, 1.0]
    target, _ = load_tasks(config)
    alone = run_training(config, target, [], {}, torch.device("cpu"))
    np.testing.assert_allclose(found["probabilities"], alone.probabilities, atol=1e-3)


@pytest.mark.slow
@pytest.mark.by_hand
def test_a_sweep_finishes_all_its_trials(lose_a_node):
    space = {"guidance.lambda_direction": {"choice": [0.01, 0.1, 1.0]}}
    tune = {"search": "grid", "folds": 2, "space": space}
    _, found = lose_a_node("sweep", 50, tune=tune, sources=[])
    assert sorted(number for number, _, _ in found["trials"]) == [1, 2, 3]
    assert {status for _, status, _ in found["trials"]} == {"finished"}


@pytest.mark.slow
@pytest.mark.by_hand
def test_scores_are_those_of_an_undisturbed_scoring(lose_a_node):
    config, found = lose_a_node("scoring", 0)
    target, sources = load_tasks(config)
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    undisturbed = {name: score.value for name, score in score_tasks(summariser, target, sources).items()}
    assert found["scores"] == pytest.approx(undisturbed, abs=1e-5)


def test_a_relative_folder_on_several_nodes_is_an_error(make_config, monkeypatch):
    """Three nodes as Ray lists them; a real cluster of three is what the tests above have."""
    from sgg_ray.orchestration.runtime import capacity

    alive = {"Alive": True, "Resources": {"CPU": 4.0}}
    monkeypatch.setattr(capacity.ray, "nodes", lambda: [alive] * 3 + [{"Alive": False}])
    capacity.check_capacity(make_config())
    with pytest.raises(
        CapacityError, match=r"^ray\.storage_path: 'runs' is relative, and each of the 3 nodes"
    ):
        capacity.check_capacity(make_config(ray={"storage_path": "runs"}))
