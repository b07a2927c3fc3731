"""Two gloo processes with a guided Trainer train what the product's loop trains alone on the same global batches."""

import os

import product_model as other
import pytest
import torch
import torch.distributed as dist
from ports import free_port
from torch import multiprocessing
from transformers import Trainer

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "lambda_source": 0.7}


def worker(rank, config, folder):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": (folder / "port").read_text(),
        "GLOO_SOCKET_IFNAME": "lo",
        "ACCELERATE_USE_CPU": "true",
    }
    torch.set_num_threads(1)
    _, model = other.both(config)
    trainer = other.trainer_class(config, model, Trainer)(
        model=model,
        args=other.arguments(config, str(folder), 2, 2, save_strategy="steps", save_steps=3),
        train_dataset=other.in_order(config, model),
        optimizers=other.optimisers(model, config),
    )
    trainer.train()
    wrapped = type(trainer.model_wrapped).__name__
    torch.save((other.parameters_of(model.model), wrapped), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_what_one_trains(make_config, still_encoder, tmp_path):
    """DistributedDataParallel, accumulation, sources and clipping. Parameters within 1e-5, equal on both."""
    (tmp_path / "port").write_text(str(free_port()))
    config = make_config(
        model={"path": str(still_encoder)},
        guidance={**TERMS, "warmup_ratio": 0.5},
        train={
            "max_steps": 6,
            "learning_rate": 1e-3,
            "head_learning_rate": 1e-3,
            "weight_decay": 0.0,
            "source_batch_size": 6,
        },
    )
    own, _ = other.both(config)
    own.run()
    multiprocessing.spawn(worker, (config, tmp_path), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    for values, wrapped in found:
        assert wrapped == "DistributedDataParallel"
        torch.testing.assert_close(values, other.parameters_of(own.model), atol=1e-5, rtol=0)
    for name, value in found[0][0].items():
        assert torch.equal(found[1][0][name], value), name
    assert (tmp_path / "checkpoint-3" / "guidance.safetensors").is_file()
