"""What the processes of the tests with several workers run. A module, so that spawned processes can import it."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from sgg_ray.config import Config
from sgg_ray.tasks import Task
from sgg_ray.training import (
    Communicator,
    Distributed,
    Hooks,
    LabelPredictions,
    SingleProcess,
    TextPredictions,
    passes,
    run_training,
)

STRETCHES = (passes.STRETCH, 2000)  # all of the toy model's gradient at once, and a handful of parts
WEIGHTS = {"clean": 0.7, "flipped": 0.3}


class ScheduledWeights:
    """New weights at the second refresh, as if scores had arrived."""

    def refresh(self, step: int, values: torch.Tensor) -> dict[str, float] | None:
        return {"clean": 0.2, "flipped": 0.8} if step == 4 else None


def train(config: Config, target: Task, sources: Sequence[Task], communicator: Communicator) -> dict:
    """One training; everything that has to agree between one worker and two."""
    events: list[dict[str, float]] = []
    checkpoints: list[int] = []
    hooks = Hooks(on_events=events.extend, checkpoint=lambda state: checkpoints.append(state.step))
    if communicator.rank == 0:
        wishes = iter([True])
        hooks.updates, hooks.checkpoint_wanted = ScheduledWeights(), lambda: next(wishes, False)
    outcome = run_training(config, target, sources, WEIGHTS, torch.device("cpu"), communicator, hooks)
    predictions = outcome.predictions
    said = isinstance(predictions, TextPredictions)
    assert said or isinstance(predictions, LabelPredictions)
    return {
        "texts": predictions.texts if said else (),
        "values": {name: value.detach().clone() for name, value in outcome.model.named_parameters()},
        "probabilities": torch.from_numpy(predictions.losses if said else predictions.probabilities),
        "weights": outcome.weights,
        "events": events,
        "checkpoints": checkpoints,
    }


def alone(config: Config, target: Task, sources: Sequence[Task]) -> dict:
    return train(config, target, sources, SingleProcess())


def worker(
    rank: int, size: int, folder: Path, configs: Sequence[Config], target: Task, sources: Sequence[Task]
) -> None:
    """One of ``size`` gloo processes; leaves its results with each of STRETCHES in ``folder``."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    try:
        results = []
        for passes.STRETCH in STRETCHES:
            results += [train(config, target, sources, Distributed()) for config in configs]
        dist.barrier()  # none leaves while another still listens
    finally:
        dist.destroy_process_group()
    torch.save(results, folder / f"{rank}.pt")
