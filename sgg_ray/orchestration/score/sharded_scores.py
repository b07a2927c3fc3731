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
from sgg_ray.scoring import alignment_report, score_sharded
from sgg_ray.tasks import Task

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
    listener.stage(f"scoring the sources, the model in parts on {config.ray.num_workers} workers")
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
    report = alignment_report(
        found.gradients,
        config.alignment,
        step=0,
        seconds=time.monotonic() - started,
        details={"model": config.model.path, "seed": config.seed},
    )
    return replace(report, layers={name: dict(layers) for name, layers in found.layers.items()})
