"""Two processes that train an average, are stopped and go on. A module, so that spawned ones can import it."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from sgg_ray.config import Config
from sgg_ray.tasks import Task
from sgg_ray.training import Distributed, Hooks, TrainingState, run_training


class Stopped(Exception):
    pass


def worker(
    rank: int, folder: Path, moment: int, config: Config, target: Task, sources: Sequence[Task]
) -> None:
    """Leaves the steps that it told, and its probabilities, of an undisturbed training and of one that went on."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        done = 0

        def checkpoint(state: TrainingState) -> None:
            nonlocal done
            done += 1
            if done == moment:
                if rank == 0:
                    state.save(folder / "checkpoint")
                dist.barrier()
                raise Stopped

        def train(hooks: Hooks) -> np.ndarray:
            steps: list[int] = []
            hooks.on_events = lambda events: steps.extend(int(event["step"]) for event in events)
            hooks.of_member = lambda name: Hooks(on_events=hooks.on_events)
            found = run_training(
                config, target, sources, {"clean": 0.4}, torch.device("cpu"), Distributed(), hooks
            )
            told.append(steps)
            return found.probabilities

        told: list[list[int]] = []
        whole = train(Hooks())
        with contextlib.suppress(Stopped):
            train(Hooks(checkpoint=checkpoint))
        resumed = train(Hooks(resume_from=folder / "checkpoint"))
        dist.barrier()  # none leaves while another still listens
    finally:
        dist.destroy_process_group()
    torch.save({"told": told, "whole": whole, "resumed": resumed}, folder / f"{rank}.pt")
