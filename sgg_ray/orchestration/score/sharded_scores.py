"""Scores of a model that lies in parts on the training workers (``ray.sharding``), instead of whole in task workers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.score.task_workers import SCORE_SECONDS, START_SECONDS
from sgg_ray.scoring import run_report, score_folds_sharded, score_sharded
from sgg_ray.tasks import Fold, Task

T = TypeVar("T")
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
    given = (config, target, list(sources))
    found, seconds = _together(score_sharded, given, config, folder, listener, executor)
    report = run_report(config, found.gradients, step=0, seconds=seconds)
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
    given = (config, target, [fold.kept for fold in folds], list(sources))
    found, seconds = _together(score_folds_sharded, given, config, folder, listener, executor)
    return [run_report(config, gradients, step=0, seconds=seconds / len(folds)) for gradients in found]


def _together(
    work: Callable[..., T],
    given: tuple[object, ...],
    config: Config,
    folder: RunFolder,
    listener: Listener,
    executor: Executor,
) -> tuple[T, float]:
    """What the workers come to together, and the seconds that it took."""
    listener.stage(f"scoring the sources, the model in parts on {config.ray.num_workers} workers")
    started = time.monotonic()
    found = executor.together(
        work,
        *given,
        asked=config.ray,
        state=folder.state(SCORING_STATE),
        seconds=START_SECONDS + SCORE_SECONDS,
    )
    return found, time.monotonic() - started
