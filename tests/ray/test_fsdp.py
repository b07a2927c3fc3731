"""A language model in parts on two workers under Ray Train: kill one, and it ends where one whole process ends."""

import actors
import numpy as np
import pytest
import torch
import toy

from sgg_ray.config import Config
from sgg_ray.models import load_model
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.tasks import load_tasks
from sgg_ray.training import SingleProcess, predict, run_training

pytestmark = [pytest.mark.ray, pytest.mark.slow]
STEPS = 16


@pytest.mark.usefixtures("database")
def test_a_worker_with_a_part_of_the_model_is_killed(settings, lm, tmp_path):
    common = {
        "model": {"path": str(lm)},
        "train": {"max_steps": STEPS, "learning_rate": 1e-5, "save_steps": 4, "logging_steps": 1},
        "ray": {"storage_path": str(tmp_path / "runs"), "task_workers": 1},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    whole = toy.merged(toy.merged(settings, common), {"train": {"baseline": False, "max_length": 40}})
    config = Config.model_validate(toy.merged(whole, {"ray": {"sharding": "fsdp", "num_workers": 2}}))
    killed = []

    def strike():
        workers = actors.processes("RayTrainWorker")
        assert len(workers) == 2
        killed.append(workers[-1].pid)
        actors.kill(workers[-1])

    heard = actors.Recorder(at={9: strike})
    result = train(config, heard)
    assert len(killed) == 1
    assert heard.seen["guided"] == list(range(STEPS))
    target, sources = load_tasks(config)
    alone = run_training(
        Config.model_validate(whole), target, sources, result.report.weights, torch.device("cpu")
    )
    stored = np.load(result.folder / "probabilities.npy")
    np.testing.assert_allclose(stored, alone.probabilities, atol=1e-4)
    model, _ = load_model(result.folder / "model")
    again = predict(model, model.tokenise(target, target.test), 16, SingleProcess())
    np.testing.assert_allclose(again, stored, atol=1e-5)
