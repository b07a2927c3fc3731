"""What is known of a sweep before it starts: its rows, its held-out parts, and how many trials run at a time."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, TuneConfig, apply_strategy, shipped_strategy, with_values
from sgg_ray.errors import CapacityError, ConfigError, ModelError
from sgg_ray.models import check_sharding, find_model
from sgg_ray.orchestration.lifecycle import read_tasks, refuse_other_rows
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.capacity import refuse_elastic, rooms
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.score.row_scoring import require_labels
from sgg_ray.scoring import check_row_scores
from sgg_ray.tasks import Fold, Task, hold_out
from sgg_ray.training import AS_THE_FILE, only_member

TUNED = "sgg"  # what is searched where `auto` would average several trainings


@dataclass(frozen=True)
class SweepPlan:
    """What is known before a sweep starts."""

    config: Config
    settings: TuneConfig
    target: Task
    sources: list[Task]
    folds: list[Fold]

    @property
    def trials(self) -> int:
        """How many trials the sweep has."""
        if self.settings.search != "grid":
            return self.settings.num_samples
        return math.prod(len(values.extremes) for values in self.settings.space.values())

    def in_words(self, at_once: int) -> str:
        """What is going to be searched, on which rows, with so many trials at a time."""
        settings, parts = self.settings, len(self.folds)
        held = len(self.folds[0].held)
        how = f"{parts} parts of {held} shots held out in turn" if parts > 1 else f"{held} shots held out"
        seeds = f", {settings.seeds} seeds" if settings.seeds > 1 else ""
        return f"searching: {self.trials} trials, {at_once} at a time; {how}{seeds}"


def prepare_tuning(config: Config, listener: Listener) -> SweepPlan:
    """Everything that can be checked before a sweep starts, or goes on.

    Raises:
        SggError: bad input (exit 2).
    """
    settings = config.tune or TuneConfig()  # pyright: ignore[reportCallIssue]
    config = config.model_copy(update={"tune": settings})
    if config.train.method == "auto":
        unused = "; target.unlabelled is not used" if config.target.unlabelled else ""
        only = only_member(config, find_model(config.model.path).architecture, bool(config.sources))
        searched = TUNED if only == AS_THE_FILE else only
        listener.note(f"a sweep searches one training: strategy {searched} in place of auto{unused}")
        config = apply_strategy(config, shipped_strategy(searched))
    refuse_elastic(config, "sweep")
    folder = RunFolder(config.ray.storage_path, config.name)
    resumes = folder.check(config)
    target, sources = read_tasks(config, listener)
    _check_sharding(config, settings)
    _check_rows(config, settings, target)
    folds = hold_out(target, settings.folds, config.seed)
    if settings.scheduler == "asha" and len(folds) * settings.seeds < 2:
        raise ConfigError("tune.scheduler: asha needs trials of two trainings or more; raise folds or seeds")
    if resumes:
        refuse_other_rows(folder, fingerprint([target, *sources]))
    if config.alignment.refresh_interval:
        listener.note("trials score the sources once: alignment.refresh_interval is for training")
    return SweepPlan(config, settings, target, sources, folds)


def _check_sharding(config: Config, settings: TuneConfig) -> None:
    """See whether a sharded training can do all that is searched.

    Raises:
        ModelError: a line for each value that it cannot.
    """
    problems = []
    for key, distribution in settings.space.items():
        for value in distribution.extremes:
            try:
                check_sharding(with_values(config, {key: value}))
            except ModelError as error:
                problems += [f"tune.space.{line}" for line in error.problems]
    if problems:
        raise ModelError(problems)


def _check_rows(config: Config, settings: TuneConfig, target: Task) -> None:
    """See whether rows can be weighted in every way that is searched.

    Raises:
        ConfigError: naming what to change or to install.
    """
    keys = [key for key in settings.space if key.startswith("alignment.row_")]
    for values in product(*(settings.space[key].extremes for key in keys)):
        searched = dict(zip(keys, values))
        try:
            own = with_values(config, searched)
        except ValidationError as error:
            detail = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(f"tune.space: {searched} does not go together: {detail}") from error
        if own.alignment.row_weighting != "none":
            check_row_scores(own)
            require_labels(target)


def concurrency(plan: SweepPlan, listener: Listener, executor: Executor) -> int:
    """How many trials fit at a time: all workers of a trial must find room at once, each on one node.

    Raises:
        CapacityError: there is not even room for one trial.
    """
    asked, settings = plan.config.ray, plan.settings
    cpus, gpus = asked.cpus_per_worker, asked.gpus_per_worker
    found = rooms(cpus, gpus, executor)
    fit = sum(found) // asked.num_workers
    need = f"{cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    if fit < 1:
        raise CapacityError(
            f"ray.num_workers: a trial needs {asked.num_workers} × {need}, the cluster's nodes have room for "
            f"{sum(found)} of these; request less"
        )
    at_once = min(fit, settings.max_concurrent_trials or fit)
    limit = " (tune.max_concurrent_trials)" if at_once < fit else ""
    each = f"{asked.num_workers} × {need}" if asked.num_workers > 1 else need
    nodes = f"{len(found)} node{'s' * (len(found) > 1)}"
    listener.note(f"{at_once} trials at a time{limit}: {each} a trial, room for {fit} on {nodes}")
    return at_once


def own_values(config: Config, settings: TuneConfig) -> dict[str, Any] | None:
    """What the file itself sets the searched keys to; None where that lies outside the space."""
    flat = config.flat()
    own = {key: flat.get(key) for key in settings.space}
    return own if all(values.holds(own[key]) for key, values in settings.space.items()) else None
