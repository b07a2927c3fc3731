"""What the processes of the tests with sharded scoring run. A module, so that spawned processes can import it."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from sgg_ray.config import Config
from sgg_ray.scoring import PoolGradients
from sgg_ray.scoring.sharded_pool import score_folds_sharded, score_sharded
from sgg_ray.tasks import hold_out, load_tasks


def worker(rank: int, size: int, folder: Path, configs: Sequence[Config]) -> None:
    """One of ``size`` gloo processes; leaves what it has of each configuration's pool in ``folder``."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    try:
        found = [score_sharded(config, *load_tasks(config), torch.device("cpu")) for config in configs]
        folds = score_folds(configs[0])
        dist.barrier()  # none leaves while another still listens
    finally:
        dist.destroy_process_group()
    torch.save((found, folds), folder / f"{rank}.pt")


def score_folds(config: Config) -> list[PoolGradients]:
    """What each of two held-out parts of the shots leaves to be scored."""
    target, sources = load_tasks(config)
    kept = [fold.kept for fold in hold_out(target, 2, config.seed)]
    return score_folds_sharded(config, target, kept, sources, torch.device("cpu"))
