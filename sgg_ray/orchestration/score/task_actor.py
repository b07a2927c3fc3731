"""The process that holds tasks: their rows, a replica of the model, and their gradients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.models import build_model
from sgg_ray.orchestration.runtime.executor import Later
from sgg_ray.orchestration.score.row_index import write_shard
from sgg_ray.scoring import (
    LayerComparison,
    LayerGradients,
    SourceGradients,
    Space,
    TargetGradients,
    TaskSummariser,
    name_vectors,
    row_vectors,
)
from sgg_ray.tasks import Task, sharing_labels
from sgg_ray.training.parameter_layout import lay_out


class TaskWorker:
    """Computes gradient summaries of the tasks it is asked for. Loads the model once, however many tasks those are.

    Every call carries all it needs (the rows, the step, the trainable state, the target's gradients), so a call that
    is retried in a restarted actor gives the same answer.

    Args:
        config: the whole configuration.
    """

    def __init__(self, config: Config):
        self.config = config
        self.tasks: dict[str, Task] = {}
        self.cut: set[str] = set()  # tasks that have lost rows since they were loaded

    def load(self, rows: Later[list[Task]]) -> None:
        """Build the model, with a head for each label set, unless that was done before.

        Args:
            rows: all tasks of the run, target first; fetched once.
        """
        if self.tasks:
            return
        tasks = rows.get()
        target, *sources = tasks
        device = torch.device("cuda" if self.config.ray.gpus_per_task_worker > 0 else "cpu")
        refreshed = self.config.alignment.refresh_interval > 0
        used = sources if refreshed else []
        if self.config.train.share_labels:
            used = sharing_labels(target, used)
        model = build_model(self.config, [target, *used], device=device).to(device)
        self.summariser = TaskSummariser(model, self.config.alignment, self.config.seed)
        # The same layout as the trainer's, so that its parameters can be taken over as one vector.
        self.flat = lay_out(model, target.head, {model.owner(source.head) for source in used}).parameters
        self.initial = self.flat.values.clone() if refreshed else None
        self.tasks = {task.name: task for task in tasks}

    def target(
        self,
        rows: Later[list[Task]],
        name: str,
        space: Space,
        step: int,
        state: np.ndarray | None,
        kept: np.ndarray | None = None,
    ) -> TargetGradients:
        """Gradients of the target, one an example, at the trainable parameters ``state`` [P].

        Args:
            kept: positions of the shots to use; none for all. A sweep holds the others out.
        """
        self.load(rows)
        self._take_over(state)
        task = self.tasks[name]
        if kept is not None:
            task = replace(task, train=task.train.take(kept))
        return self.summariser.target(task, space, step)

    def source(
        self,
        rows: Later[list[Task]],
        name: str,
        space: Space,
        step: int,
        state: np.ndarray | None,
        target: TargetGradients | Later[TargetGradients],
        kept: np.ndarray | None = None,
    ) -> SourceGradients:
        """Gradients of a source, compared with the target's.

        Args:
            target: the target's gradients, now or later: the source's own forward passes need not wait for them.
            kept: positions of the rows to use; none for all. From the first call with it on, the others are gone.
        """
        self.load(rows)
        self._take_over(state)

        if kept is not None and name not in self.cut:
            self.tasks[name] = replace(self.tasks[name], train=self.tasks[name].train.take(kept))
            self.cut.add(name)
            self.summariser.forget()

        def fetch() -> TargetGradients:
            return target.get() if isinstance(target, Later) else target

        return self.summariser.source(self.tasks[name], space, step, fetch)

    def target_layers(self, rows: Later[list[Task]], name: str, labels: tuple[str, ...]) -> LayerGradients:
        """The target's gradient by layer, at the model as loaded, for sources with these labels in common."""
        self.load(rows)
        self._take_over(None)
        return LayerComparison(self.summariser.model, self.config.seed).target(self.tasks[name], labels)

    def source_layers(self, rows: Later[list[Task]], name: str, target: LayerGradients) -> dict[str, float]:
        """Cosine of a source's gradient with the target's, layer by layer."""
        self.load(rows)
        self._take_over(None)
        return LayerComparison(self.summariser.model, self.config.seed).source(self.tasks[name], target)

    def row_shard(
        self, rows: Later[list[Task]], name: str, start: int, stop: int, path: str | None
    ) -> np.ndarray | None:
        """Vectors of a stretch of a task's rows at the model as loaded: written to ``path``, or else returned.

        Args:
            path: of the shard, in a folder that this node may or may not reach; None to return it.
        """
        self.load(rows)
        self._take_over(None)
        found = row_vectors(self.summariser.model, self.tasks[name], start, stop, self.config.seed)
        if path is None or not Path(path).parent.is_dir():
            return found
        write_shard(Path(path), found)
        return None

    def label_names(self, rows: Later[list[Task]], name: str) -> np.ndarray | None:
        """Features of what a task's labels are called [C, D]; None where they say nothing."""
        self.load(rows)
        self._take_over(None)
        return name_vectors(self.summariser.model, self.tasks[name])

    def _take_over(self, state: np.ndarray | None) -> None:
        values = self.initial if state is None else torch.tensor(state)
        if values is not None:  # none: the parameters never change
            self.flat.values.copy_(values)
            self.summariser.forget()
