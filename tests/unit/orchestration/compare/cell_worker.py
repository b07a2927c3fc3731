"""What processes that share a model run in a test of cells. A module, so that spawned processes can import it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from sgg_ray.config import Config
from sgg_ray.orchestration.compare.cell_runner import CellKey
from sgg_ray.orchestration.compare.sharded_cells import score_split, train_cell


def worker(rank: int, size: int, folder: Path, config: Config, keys: Sequence[CellKey]) -> None:
    """One of ``size`` gloo processes; leaves scores and cells in ``folder``."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    try:
        found = cells(config, keys)
        dist.barrier()  # none leaves while another still listens
    finally:
        dist.destroy_process_group()
    torch.save(found, folder / f"{rank}.pt")


def cells(config: Config, keys: Sequence[CellKey]) -> tuple[Any, list[dict[str, Any]]]:
    """Scores of the split that the cells have in common, and what each cell came to."""
    device = torch.device("cpu")
    scores = score_split(config, keys[0].split, device)
    return scores, [train_cell(config, key, scores, device) for key in keys]
