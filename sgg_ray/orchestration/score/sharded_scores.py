"""Scores of a model that lies in parts on the training workers (``ray.sharding``), instead of whole in task workers."""

import time
from collections.abc import Sequence
from dataclasses import replace

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.score.task_workers import SCORE_SECONDS, START_SECONDS
from sgg_ray.scoring import PoolGradients, alignment_report, score_folds_sharded, score_sharded
from sgg_ray.tasks import Fold, Task

SCORING_STATE = "ray_scoring"  # Ray Train's own folder inside the run folder while scoring


def score_in_parts(
    config: Config,
    target: Task,
    sources: Sequence[Task],
    folder: RunFolder,
    listener: Listener,
    executor: Executor,
) -> AlignmentReport:
    """Score every source at the model as loaded, in as many workers as train later, and wait for the report.

    Raises:
        SggError: the target's gradients are unusable, or the workers came to no end.
    """
    listener.stage(_stage(config))
    started = time.monotonic()
    found = executor.together(
        score_sharded,
        config,
        target,
        list(sources),
        asked=config.ray,
        state=folder.state(SCORING_STATE),
        seconds=START_SECONDS + SCORE_SECONDS,
    )
    report = _report(config, found.gradients, time.monotonic() - started)
    return replace(report, layers={name: dict(layers) for name, layers in found.layers.items()})


def score_folds_in_parts(
    config: Config,
    target: Task,
    folds: Sequence[Fold],
    sources: Sequence[Task],
    folder: RunFolder,
    listener: Listener,
    executor: Executor,
) -> list[AlignmentReport]:
    """The same without each held-out part of the shots in turn; the workers load the model once.

    Raises:
        SggError: the target's gradients are unusable, or the workers came to no end.
    """
    listener.stage(_stage(config))
    started = time.monotonic()
    found = executor.together(
        score_folds_sharded,
        config,
        target,
        [fold.kept for fold in folds],
        list(sources),
        asked=config.ray,
        state=folder.state(SCORING_STATE),
        seconds=START_SECONDS + SCORE_SECONDS,
    )
    seconds = (time.monotonic() - started) / len(folds)
    return [_report(config, gradients, seconds) for gradients in found]


def _stage(config: Config) -> str:
    return f"scoring the sources, the model in parts on {config.ray.num_workers} workers"


def _report(config: Config, gradients: PoolGradients, seconds: float) -> AlignmentReport:
    details = {"model": config.model.path, "seed": config.seed}
    return alignment_report(gradients, config.alignment, step=0, seconds=seconds, details=details)
