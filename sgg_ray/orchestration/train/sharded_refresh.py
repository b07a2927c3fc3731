"""Source weights that follow a model in parts while it trains."""

import time
from collections.abc import Callable, Mapping, Sequence

import torch

from sgg_ray.alignment import AlignmentReport
from sgg_ray.config import Config
from sgg_ray.errors import SggError
from sgg_ray.models import TaskModel, release
from sgg_ray.orchestration.train.weight_refresh import require_all
from sgg_ray.scoring import TaskSummariser, pool_gradients, run_report
from sgg_ray.tasks import Task


class ShardedRefresh:
    """Scores the sources at the parameters that the model has now, on all workers together: training waits.

    The scores are used at once, where :class:`.weight_refresh.RefreshedWeights` uses those of the refresh before.
    Failed ones change nothing.

    Args:
        model: that is trained, sharded.
        config: the whole configuration.
        target: of the training.
        sources: of the training.
        weights: of the sources until the first new ones.
        on_report: called with scores whose weights are taken.
        on_problem: called with a line about scores that are not.
    """

    def __init__(
        self,
        model: TaskModel,
        config: Config,
        target: Task,
        sources: Sequence[Task],
        weights: Mapping[str, float],
        on_report: Callable[[AlignmentReport], None] = lambda report: None,
        on_problem: Callable[[str], None] = lambda text: None,
    ):
        self.model, self.config, self.target, self.sources = model, config, target, list(sources)
        self.weights = weights
        self.on_report, self.on_problem = on_report, on_problem

    def refresh(self, step: int, values: torch.Tensor) -> Mapping[str, float] | None:
        """Every worker has to call this at the same step; the parameters are those of the model."""
        started = time.monotonic()
        summariser = TaskSummariser(self.model, self.config.alignment, self.config.seed)
        try:
            found = pool_gradients(summariser, self.target, self.sources, self.config.train.share_labels)
            report = run_report(self.config, found, step=step, seconds=time.monotonic() - started)
            require_all(report, self.weights)
        except SggError as error:
            self.on_problem(f"scores of step {step} failed ({error.problems[0]}): the old weights stay")
            return None
        finally:
            release(self.model)
        self.weights = report.weights
        self.on_report(report)
        return self.weights
