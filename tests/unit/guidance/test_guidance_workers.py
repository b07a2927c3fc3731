"""Data-parallel workers over gloo give the guided gradient of one process."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracle import ROWS, build_case
from ports import free_port

from sgg_ray.guidance import Guidance

SETTINGS = {
    "lambda_direction": 0.3,
    "lambda_magnitude": 0.2,
    "lambda_alignment": 0.4,
    "fd_relative_change": 1e-4,
}
STEPS = 2


def _train(rank: int, size: int, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Guided gradient and reference after two steps; each worker has its share of the rows, and of ĝ_S."""
    torch.set_num_threads(1)
    case = build_case("mlp")
    case.micro_batch = 1
    rows = range(rank * ROWS // size, (rank + 1) * ROWS // size)
    reduce = dist.all_reduce if size > 1 else lambda tensor: None
    guidance = Guidance(
        case.flat, hvp=mode, private=case.private, shared=case.shared, world_size=size, **SETTINGS
    )
    for step in range(STEPS):
        case.flat.zero_gradient()
        for loss in case.losses(rows, step):
            loss.backward()
        reduce(case.flat.gradient)
        guidance.apply(step, lambda step=step: case.losses(rows, step), case.source, reduce)
    assert guidance.reference is not None
    return case.flat.gradient, guidance.reference


def _worker(rank: int, size: int, port: int, modes: list[str], results) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    for mode in modes:
        results[rank, mode] = tuple(tensor.numpy() for tensor in _train(rank, size, mode))
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=[pytest.mark.slow, pytest.mark.by_hand])])
def test_workers_agree_with_one_process(size: int):
    modes = ["finite_difference", "central_difference", "exact", "first_order"]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_worker, (size, free_port(), modes, results), nprocs=size)
        for mode in modes:
            expected = _train(0, 1, mode)
            for rank in range(size):
                for found, wanted in zip(results[rank, mode], expected):
                    error = (torch.from_numpy(found) - wanted).norm() / wanted.norm()
                    assert error < 1e-6, (mode, rank)
