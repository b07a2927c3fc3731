"""Two and four data-parallel workers train what one trains, at the same global batch."""

import gloo_worker
import pytest
import torch
from torch import multiprocessing

from sgg_ray.tasks import load_tasks

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "warmup_ratio": 0.0}
SETTINGS = {
    "finite differences": {"guidance": TERMS},
    "uneven shares in micro-batches": {
        "guidance": {**TERMS, "hvp": "exact"},
        "train": {"batch_size": 7, "source_batch_size": 5, "micro_batch_size": 3},
    },
    "more workers than rows": {
        "guidance": {**TERMS, "hvp": "central_difference"},
        "train": {"batch_size": 1, "source_batch_size": 1},
    },
}


def make_configs(make_config, still_encoder):
    # Small steps: Adam turns the rounding of gradients that are zero but for it into steps of its own.
    common = {"model": {"path": str(still_encoder)}, "alignment": {"refresh_interval": 2}}
    rates = {"max_steps": 6, "learning_rate": 1e-5, "head_learning_rate": 1e-2}
    return [
        make_config(**common, **{**settings, "train": {**rates, **settings.get("train", {})}})
        for settings in SETTINGS.values()
    ]


@pytest.mark.parametrize(
    ("size", "used"),
    [(2, slice(None)), pytest.param(4, slice(1), marks=[pytest.mark.slow, pytest.mark.by_hand])],
)
def test_workers_train_what_one_trains(make_config, still_encoder, tmp_path, size, used):
    """Guidance with the source mixture and ĝ_S, weights that change on the way, and the prediction of test rows."""
    configs, names = make_configs(make_config, still_encoder)[used], list(SETTINGS)[used]
    target, sources = load_tasks(configs[0])
    multiprocessing.spawn(gloo_worker.worker, (size, tmp_path, configs, target, sources), nprocs=size)
    by_rank = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(size)]
    parts = len(gloo_worker.STRETCHES)
    alone = [gloo_worker.alone(config, target, sources) for config in configs] * parts
    for place, (name, config, expected) in enumerate(zip(names * parts, configs * parts, alone, strict=True)):
        close = {"atol": 1e-5, "rtol": 0.0, "msg": lambda text, name=name: f"{name}: {text}"}
        for rank, results in enumerate(by_rank):
            assert len(results) == len(alone)
            found = results[place]
            # One was wanted after step 1: all workers keep it where they are told, at the next logging_steps.
            assert (found["checkpoints"], expected["checkpoints"]) == ([2, 3], [1, 3])
            assert found["weights"] == expected["weights"] == pytest.approx({"clean": 0.2, "flipped": 0.8})
            assert len(found["events"]) == (config.train.max_steps if rank == 0 else 0)  # only worker 0 tells
            torch.testing.assert_close(found["values"], expected["values"], **close)
            torch.testing.assert_close(found["probabilities"], expected["probabilities"], **close)
            assert torch.equal(found["probabilities"], by_rank[0][place]["probabilities"])
        for mine, theirs in zip(by_rank[0][place]["events"], expected["events"], strict=True):
            for key in ("loss", "source_loss", "gradient_norm", "penalty", "alignment_cosine"):
                assert mine[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-4, nan_ok=True), (name, key)
        for mine, theirs in zip(tokens_of(by_rank[0][place]["events"]), tokens_of(expected["events"])):
            assert mine == pytest.approx(theirs, rel=1e-4), name


def tokens_of(events) -> list[float]:
    """All tokens up to each step that has told of a whole number of windows."""
    found, total, seconds = [], 0.0, 0.0
    for event in events:
        seconds += event["seconds"]
        if "tokens_per_second" in event:
            total, seconds = total + event["tokens_per_second"] * seconds, 0.0
            found.append(total)
    return found[-1:]


@pytest.mark.parametrize(
    ("hvp", "sums"),
    [("finite_difference", 3), ("central_difference", 3), ("exact", 3), ("first_order", 2)],
)
def test_the_gradient_is_summed_once_for_each_part_of_the_objective(make_trainer, monkeypatch, hvp, sums):
    """ĝ_S, g, and H·v, both passes of a central difference together; all else that is sent is a few numbers."""
    trainer = make_trainer(guidance={**TERMS, "hvp": hvp}, train={"max_steps": 2})
    sent = []
    monkeypatch.setattr(
        type(trainer.communicator), "all_reduce", lambda _, tensor: sent.append(tensor.numel())
    )
    trainer.run()
    assert [numel for numel in sent if numel == trainer.flat.size] == [trainer.flat.size] * 2 * sums
    assert sum(numel for numel in sent if numel != trainer.flat.size) < 100
