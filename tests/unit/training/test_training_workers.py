"""Two data-parallel workers train what one trains, at the same global batch."""

import gloo_worker
import pytest
import torch
from torch import multiprocessing

from sgg_ray.tasks import load_tasks

TERMS = {"direction": 0.2, "magnitude": 0.2, "alignment": 0.1, "warmup": 0.0}
SETTINGS = {
    "finite differences": {"guidance": TERMS},
    "uneven shares in micro-batches": {
        "guidance": {**TERMS, "hvp": "exact", "reference": "full", "reference_every": 2},
        "train": {"batch_size": 7, "source_batch_size": 5, "micro_batch_size": 3},
    },
    "more workers than rows": {
        "guidance": {**TERMS, "hvp": "central_difference"},
        "train": {"batch_size": 1, "source_batch_size": 1},
    },
}


def make_configs(make_config, still_encoder):
    # Small steps: Adam turns the rounding of gradients that are zero but for it into steps of its own.
    common = {"model": {"path": str(still_encoder)}, "alignment": {"refresh_every": 2}}
    rates = {"steps": 6, "learning_rate": 1e-5, "head_learning_rate": 1e-2}
    return [
        make_config(**common, **{**settings, "train": {**rates, **settings.get("train", {})}})
        for settings in SETTINGS.values()
    ]


def test_two_workers_train_what_one_trains(make_config, still_encoder, tmp_path):
    configs = make_configs(make_config, still_encoder)
    target, sources = load_tasks(configs[0])
    arguments = (tmp_path, configs, target, sources)
    multiprocessing.spawn(gloo_worker.worker, arguments, nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1))
    alone = [gloo_worker.alone(config, target, sources) for config in configs]
    parts = len(gloo_worker.STRETCHES)
    assert len(first) == len(second) == parts * len(alone)
    for name, config, expected, one, other in zip(
        [*SETTINGS] * parts, configs * parts, alone * parts, first, second
    ):
        assert (
            one["weights"]
            == other["weights"]
            == expected["weights"]
            == pytest.approx({"clean": 0.2, "flipped": 0.8})
        ), name
        assert other["events"] == []  # only worker 0 tells
        assert len(one["events"]) == config.train.steps
        for found in (one, other):
            close = {"atol": 1e-5, "rtol": 0.0, "msg": lambda text, name=name: f"{name}: {text}"}
            torch.testing.assert_close(found["values"], expected["values"], **close)
            torch.testing.assert_close(found["probabilities"], expected["probabilities"], **close)
        assert torch.equal(one["probabilities"], other["probabilities"])
        for mine, theirs in zip(one["events"], expected["events"]):
            for key in ("loss", "source_loss", "gradient_norm", "penalty", "alignment_cosine"):
                assert mine[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-4, nan_ok=True), (name, key)
