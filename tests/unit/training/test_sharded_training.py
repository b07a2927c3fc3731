"""Workers that hold a part of the model each train what one process trains that holds all of it."""

import pytest
import shard_worker
import torch
import toy
from torch import multiprocessing

from sgg_ray.errors import CheckpointError, ModelError
from sgg_ray.models import check_settings, sharding
from sgg_ray.tasks import load_tasks
from sgg_ray.training import SingleProcess, check_checkpoint
from sgg_ray.training.throughput import TIMED

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "warmup_ratio": 0.0}
# Adam turns the rounding of gradients that are next to nothing into steps: the rate bounds what that comes to.
RATE = 1e-4
CASES = {
    "uneven shares in micro-batches, sources scored anew": {
        "guidance": TERMS,
        "alignment": {"refresh_interval": 2},
        "train": {"batch_size": 7, "source_batch_size": 5, "micro_batch_size": 2},
    },
    "fewer rows than workers": {
        "guidance": {**TERMS, "hvp": "first_order", "interval": 2, "view_modules": 1},
        "train": {"batch_size": 1, "source_batch_size": 1, "eval_batch_size": 5},
    },
    "an adapter": {
        "guidance": {**TERMS, "hvp": "central_difference"},
        "model": {"adapter": {"peft_type": "lora", "r": 4, "target_modules": ["q_proj", "v_proj"]}},
    },
    "checkpointed activations": {"guidance": TERMS, "model": {"gradient_checkpointing": True}},
    "combined gradients": {"guidance": TERMS, "train": {"combine": "pcgrad"}},
    "another loss, strategy auto": {"guidance": TERMS, "train": {"loss": "t_few", "method": "auto"}},
}
with_shards = pytest.mark.skipif(not sharding.pytorch_can_shard(), reason="PyTorch is older than 2.8")


@pytest.fixture
def eight_blocks(tmp_path):
    """A toy language model whose blocks are gathered two at a time, short enough for sketches without an error."""
    return toy.save_language_model(tmp_path / "eight", width=16, layers=8)


@pytest.fixture
def make_sharded(make_config, eight_blocks):
    """A configuration for so many workers that share a toy language model."""

    def make(workers: int, **changes):
        common = {
            "model": {"path": str(eight_blocks)},
            "train": {
                "learning_rate": RATE,
                "max_steps": 6,
                "max_length": 40,
                "logging_steps": 1,
                "baseline": False,
            },
            "ray": {"sharding": "fsdp", "num_workers": workers},
        }
        return make_config(**toy.merged(common, changes))

    return make


def whole(config):
    """The same training in one process with the whole model."""
    return config.model_copy(
        update={"ray": config.ray.model_copy(update={"sharding": None, "num_workers": 1})}
    )


def spawn(size, folder, configs, resume_from=None):
    target, sources = load_tasks(configs[0])
    folder.mkdir()
    arguments = (size, folder, configs, target, sources, resume_from)
    multiprocessing.spawn(shard_worker.worker, arguments, nprocs=size)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def agree(found, expected, rate=RATE):
    assert found["trainable"] == expected["trainable"]
    assert found["texts"] == expected["texts"]
    for mine, theirs in zip(found["scored"], expected["scored"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    for part in ("values", "predicted"):
        torch.testing.assert_close(found[part], expected[part], atol=rate, rtol=0.0)
    for mine, theirs in zip(found["events"], expected["events"], strict=True):
        for key in theirs.keys() - set(TIMED):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5, nan_ok=True), key
        tokens, expected = (one["tokens_per_second"] * one["seconds"] for one in (mine, theirs))
        assert tokens == pytest.approx(expected, rel=1e-4)


@with_shards
@pytest.mark.parametrize(
    ("size", "names"),
    [(2, list(CASES)[:2]), pytest.param(3, list(CASES), marks=[pytest.mark.slow, pytest.mark.by_hand])],
)
def test_parts_train_what_the_whole_trains(make_sharded, tmp_path, size, names):
    configs = [make_sharded(size, **CASES[name]) for name in names]
    by_rank = spawn(size, tmp_path / "workers", configs)
    target, sources = load_tasks(configs[0])
    for place, config in enumerate(configs):
        expected = shard_worker.train(whole(config), target, sources, SingleProcess())
        assert expected["events"][-1]["hvp_ratio" if "hvp_ratio" in expected["events"][-1] else "penalty"] > 0
        agree(by_rank[0][place], expected)
        assert len(expected["scored"]) == (2 if config.alignment.refresh_interval else 0)
        for results in by_rank:
            assert torch.equal(results[place]["predicted"], by_rank[0][place]["predicted"])


@with_shards
@pytest.mark.slow
def test_another_number_of_workers_goes_on_where_the_first_stopped(make_sharded, tmp_path):
    guidance = {"guidance": TERMS, "train": {"save_steps": 4, "batch_size": 7}}
    (undisturbed, *_) = spawn(2, tmp_path / "two", [make_sharded(2, **guidance)])
    stored = tmp_path / "two" / "checkpoint-0"
    check_checkpoint(stored)
    (resumed, *_) = spawn(3, tmp_path / "three", [make_sharded(3, **guidance)], stored)
    assert [event["step"] for event in resumed[0]["events"]] == [4, 5]
    undisturbed[0]["events"] = undisturbed[0]["events"][4:]
    resumed[0]["events"][0].pop("step_cosine", None)
    undisturbed[0]["events"][0].pop("step_cosine", None)  # compares with a step before the checkpoint
    agree(resumed[0], undisturbed[0])
    (stored / "trainer.1-of-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks trainer\.1-of-2\.safetensors; delete the run folder"):
        check_checkpoint(stored)


@with_shards
@pytest.mark.slow
def test_parts_generate_what_the_whole_generates(make_generation, tmp_path):
    config = make_generation(
        guidance=TERMS,
        sources=[],
        train={
            "max_steps": 4,
            "learning_rate": RATE,
            "eval_batch_size": 4,
            "baseline": False,
            "logging_steps": 1,
        },
        ray={"sharding": "fsdp", "num_workers": 2},
    )
    (found, *_) = spawn(2, tmp_path / "workers", [config])
    target, _ = load_tasks(config)
    agree(found[0], shard_worker.train(whole(config), target, [], SingleProcess()))


def test_what_a_sharded_training_cannot_do_is_said_before_it_starts(make_sharded):
    check_settings(make_sharded(2))
    wrong = make_sharded(
        1,
        guidance={"hvp": "exact"},
        alignment={"row_weighting": "soft"},
    )
    with pytest.raises(ModelError) as error:
        check_settings(wrong)
    said = str(error.value).splitlines()
    keys = ["ray.num_workers", "guidance.hvp", "alignment.row_weighting"]
    assert [line.split(":")[0] for line in said] == keys
    assert said[0] == "ray.num_workers: fsdp needs two workers or more, found 1 (ray.sharding: fsdp)"


def test_an_old_pytorch_is_said_before_it_starts(make_sharded, monkeypatch):
    monkeypatch.setattr(sharding, "pytorch_can_shard", lambda: False)
    with pytest.raises(ModelError, match=r"ray\.sharding: fsdp needs PyTorch 2\.8 or newer, found"):
        check_settings(make_sharded(2))
