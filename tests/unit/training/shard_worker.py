"""What the processes of the tests with sharded models run. A module, so that spawned processes can import it."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from sgg_ray.alignment import AlignmentReport
from sgg_ray.config import Config
from sgg_ray.orchestration.train.sharded_refresh import ShardedRefresh
from sgg_ray.tasks import Task
from sgg_ray.training import (
    Communicator,
    Distributed,
    Hooks,
    LabelPredictions,
    TextPredictions,
    TrainingState,
    run_training,
)

WEIGHTS = {"clean": 0.7, "flipped": 0.3}


def train(
    config: Config,
    target: Task,
    sources: Sequence[Task],
    communicator: Communicator,
    saves_to: Path | None = None,
    resume_from: Path | None = None,
) -> dict:
    """One training; everything that has to agree between a whole model and a sharded one."""
    events: list[dict[str, float]] = []
    hooks = Hooks(on_events=events.extend, resume_from=resume_from)
    if saves_to is not None:

        def checkpoint(state: TrainingState) -> None:
            state.save(saves_to)

        hooks.checkpoint = checkpoint
    scored: list[AlignmentReport] = []
    if config.alignment.refresh_interval:
        hooks.updates_of = lambda model: ShardedRefresh(
            model, config, target, sources, WEIGHTS, on_report=scored.append
        )
    outcome = run_training(config, target, sources, WEIGHTS, torch.device("cpu"), communicator, hooks)
    predictions = outcome.predictions
    said = isinstance(predictions, TextPredictions)
    assert said or isinstance(predictions, LabelPredictions)
    values = dict(outcome.model.named_parameters()) if communicator.rank == 0 else {}
    return {
        "values": {name: value.detach().clone() for name, value in values.items()},
        "texts": predictions.texts if said else (),
        "predicted": torch.from_numpy(predictions.losses if said else predictions.probabilities),
        "events": events,
        "trainable": outcome.trainable,
        "scored": [report.weights for report in scored],
    }


def worker(
    rank: int,
    size: int,
    folder: Path,
    configs: Sequence[Config],
    target: Task,
    sources: Sequence[Task],
    resume_from: Path | None = None,
) -> None:
    """One of ``size`` gloo processes; leaves its results, and the last checkpoint of each training, in ``folder``."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    results = []
    try:
        for number, config in enumerate(configs):
            place = folder / f"checkpoint-{number}"
            place.mkdir(exist_ok=True)
            results.append(train(config, target, sources, Distributed(), place, resume_from))
        dist.barrier()  # none leaves while another still listens
    finally:
        dist.destroy_process_group()
    torch.save(results, folder / f"{rank}.pt")
