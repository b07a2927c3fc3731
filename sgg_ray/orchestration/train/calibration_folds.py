"""The temperature of a trained model, from trainings that leave out a part of the shots in turn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch

from sgg_ray.config import Config
from sgg_ray.evaluation import fit_temperature
from sgg_ray.orchestration.messages import CalibrationProgress
from sgg_ray.orchestration.runtime.event_log import EventLogHandle
from sgg_ray.tasks import Fold, Task, hold_out
from sgg_ray.training import Event, Hooks, predictions_class, run_training

CALIBRATION = "calibration.json"


def usable_folds(config: Config, target: Task) -> list[Fold]:
    """The parts that are left out in turn: as many as asked for, but no more than each class has shots.

    A kind of target without probabilities has nothing to calibrate, and none.
    """
    if not predictions_class(target).calibrated:
        return []
    shots = int(np.bincount(target.train.labels, minlength=len(target.labels)).min())
    count = min(config.train.calibration_folds, shots)
    return hold_out(target, count, config.seed) if count > 1 else []


@ray.remote(max_retries=2)
def predict_held_out(
    config: Config,
    target: Task,
    sources: list[Task],
    weights: Mapping[str, float],
    run: str,
    log: EventLogHandle,
) -> np.ndarray:
    """Train as the run did on the target's rows, and predict its held-out ones: [n, C].

    ``sources`` come out of the object store, which holds one copy for all trainings.
    """

    def tell(events: Sequence[Event]) -> None:
        log.tell(CalibrationProgress(run, tuple(events)))

    hooks = Hooks(on_events=tell)
    device = torch.device("cuda" if config.ray.gpus_per_worker > 0 else "cpu")
    return run_training(config, target, sources, weights, device, hooks=hooks).probabilities


def start_folds(
    config: Config,
    target: Task,
    sources: Sequence[Task],
    weights: Mapping[str, float],
    folds: Sequence[Fold],
    log: EventLogHandle,
) -> list[ray.ObjectRef]:
    """One training a part, as many at a time as the cluster has room for.

    The sources keep the weights of the whole run. Those were chosen with all shots, the held-out ones included, but
    that is one number a source and not what makes a model too sure of itself.
    """
    options = {"num_cpus": config.ray.cpus_per_worker, "num_gpus": config.ray.gpus_per_worker}
    alignment = config.alignment.model_copy(update={"refresh_interval": 0})
    # Of an average only the most important member is trained again: all of them would double the run's cost.
    train = config.train.model_copy(update={"budget": 1})
    config = config.model_copy(update={"alignment": alignment, "train": train})
    shared = ray.put(list(sources))
    return [
        predict_held_out.options(**options).remote(
            config, fold.of(target), shared, dict(weights), f"held-out part {number}/{len(folds)}", log
        )
        for number, fold in enumerate(folds, start=1)
    ]


def temperature_of(target: Task, folds: Sequence[Fold], predicted: Sequence[np.ndarray]) -> dict[str, Any]:
    """The temperature that fits what the trainings predicted for the rows they had not seen."""
    labels = np.concatenate([target.train.labels[fold.held] for fold in folds])
    temperature = fit_temperature(np.concatenate(predicted), labels)
    return {"temperature": temperature, "rows": len(labels), "folds": len(folds)}
