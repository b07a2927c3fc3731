"""The scores of a sweep: one report for each held-out part, and for each setting that changes scores."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, depends_on_scores, with_values
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.score.row_scoring import compare_rows, pool_vectors
from sgg_ray.orchestration.score.sharded_scores import score_folds_in_parts
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.tune.sweep_plan import SweepPlan
from sgg_ray.orchestration.tune.sweep_trial import PartScores, score_key
from sgg_ray.scoring import RowVectors
from sgg_ray.tasks import Fold


class SweepScores:
    """Scores the sources for every part that is held out: its rows must not have a say in the weights.

    The first task workers start at once, so that they load the model while the driver opens MLflow. A sharded model is
    scored in as many training workers as a trial has.
    """

    def __init__(self, plan: SweepPlan, executor: Executor):
        self.plan, self.executor = plan, executor
        space = plan.settings.space
        keys = [key for key in space if depends_on_scores(key)]
        combinations = product(*(space[key].extremes for key in keys))
        # What is searched can change the scores: then there are several scorings, one after the other.
        self.waiting = [dict(zip(keys, values)) for values in combinations] if plan.sources else []
        whole = plan.config.ray.sharding is None
        self.workers = self._launch(self.waiting[0]) if self.waiting and whole else None

    def _launch(self, values: dict[str, Any]) -> TaskWorkers:
        plan = self.plan
        return TaskWorkers.launch(with_values(plan.config, values), plan.target, plan.sources, self.executor)

    def of_parts(self, listener: Listener) -> dict[str, list[PartScores]]:
        """Scores for each part, by ``score_key``."""
        found = {}
        try:
            for values in self.waiting:
                config = with_values(self.plan.config, values)
                score = self._score_whole if config.ray.sharding is None else self._score_sharded
                found[score_key(values)] = score(values, config, listener)
                self.close()
        finally:
            self.close()
        return found

    def _score_sharded(self, values: dict[str, Any], config: Config, listener: Listener) -> list[PartScores]:
        plan, folder = self.plan, RunFolder(config.ray.storage_path, config.name)
        if values:
            listener.note(f"scoring with {values}")
        reports = score_folds_in_parts(
            config, plan.target, plan.folds, plan.sources, folder, listener, self.executor
        )
        return [PartScores(report) for report in reports]

    def _score_whole(self, values: dict[str, Any], config: Config, listener: Listener) -> list[PartScores]:
        listener.stage("loading the model in the task workers" + (f" with {values}" if values else ""))
        self.workers = self.workers or self._launch(values)
        return self._score(self.workers, config, listener)

    def _score(self, workers: TaskWorkers, config: Config, listener: Listener) -> list[PartScores]:
        workers.ready(listener)
        plan, vectors = self.plan, None
        if config.alignment.row_weighting != "none":
            folder = RunFolder(config.ray.storage_path, config.name)
            vectors = pool_vectors(config, plan.target, plan.sources, workers, folder, listener)
        listener.stage("scoring the sources")
        found = []
        for number, fold in enumerate(plan.folds, start=1):
            scored = PartScores(workers.score(kept=fold.kept))
            found.append(scored if vectors is None else _without_rows(workers, config, fold, vectors, scored))
            listener.advance(number, len(plan.folds), "parts of the shots scored")
        return found

    def close(self) -> None:
        """End the task workers that are there."""
        if self.workers is not None:
            self.workers.close()
            self.workers = None


def _without_rows(
    workers: TaskWorkers, config: Config, fold: Fold, vectors: list[RowVectors], scored: PartScores
) -> PartScores:
    """Scores of the rows that are left, and the weights of all; the shots that are held out have no say in them."""
    target, *sources = vectors
    shots = target.take(fold.of(target.task), fold.kept)
    found = compare_rows(config, [shots, *sources], scored.report, workers.language_model)
    settings = config.alignment
    rows = {
        one.task.name: found[one.task.name].weights(settings.row_weighting, settings.row_share)
        for one in sources
    }
    left = replace(workers, kept={name: np.flatnonzero(own > 0) for name, own in rows.items()})
    return PartScores(left.score(kept=fold.kept), rows)
