"""The scores of a sweep: one report for each held-out part, and for each setting that changes scores."""

from itertools import product
from typing import Any

from sgg_ray.alignment import AlignmentReport
from sgg_ray.config import depends_on_scores, with_values
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.tune.sweep_plan import SweepPlan
from sgg_ray.orchestration.tune.sweep_trial import score_key


class SweepScores:
    """Scores the sources for every part that is held out: its rows must not have a say in the weights.

    The first task workers start at once, so that they load the model while the driver opens MLflow.
    """

    def __init__(self, plan: SweepPlan, executor: Executor):
        self.plan, self.executor = plan, executor
        space = plan.settings.space
        keys = [key for key in space if depends_on_scores(key)]
        combinations = product(*(space[key].extremes for key in keys))
        # What is searched can change the scores: then there are several scorings, one after the other.
        self.waiting = [dict(zip(keys, values)) for values in combinations] if plan.sources else []
        self.workers = self._launch(self.waiting[0]) if self.waiting else None

    def _launch(self, values: dict[str, Any]) -> TaskWorkers:
        plan = self.plan
        return TaskWorkers.launch(with_values(plan.config, values), plan.target, plan.sources, self.executor)

    def reports(self, listener: Listener) -> dict[str, list[AlignmentReport]]:
        """A report for each part, by ``score_key``."""
        found = {}
        try:
            for values in self.waiting:
                listener.stage(
                    "loading the model in the task workers" + (f" with {values}" if values else "")
                )
                self.workers = self.workers or self._launch(values)
                found[score_key(values)] = self._score(self.workers, listener)
                self.close()
        finally:
            self.close()
        return found

    def _score(self, workers: TaskWorkers, listener: Listener) -> list[AlignmentReport]:
        workers.ready(listener)
        listener.stage("scoring the sources")
        found = []
        for number, fold in enumerate(self.plan.folds, start=1):
            found.append(workers.score(kept=fold.kept))
            listener.advance(number, len(self.plan.folds), "parts of the shots scored")
        return found

    def close(self) -> None:
        """End the task workers that are there."""
        if self.workers is not None:
            self.workers.close()
            self.workers = None
