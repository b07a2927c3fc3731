"""The process that holds tasks: their rows, a replica of the model, and their gradients."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.models import EncoderClassifier, LanguageModel, build_model
from sgg_ray.models.token_processes import TokenProcesses, process_count
from sgg_ray.orchestration.runtime.executor import Later
from sgg_ray.orchestration.score.pool_rows import PoolRows
from sgg_ray.orchestration.score.row_index import write_shard
from sgg_ray.scoring import (
    Checkpoint,
    LayerComparison,
    LayerGradients,
    SourceGradients,
    Space,
    TargetGradients,
    TaskSummariser,
    name_vectors,
    trajectory_vectors,
    vectors_of_stretches,
)
from sgg_ray.tasks import Task, sharing_labels
from sgg_ray.training import warm_up
from sgg_ray.training.parameter_layout import lay_out

WRITERS = 4  # shards that are written at once, while others are computed


class TaskWorker:
    """Computes gradient summaries of the tasks it is asked for. Loads the model once, however many tasks those are.

    Every call carries all it needs (the rows, the step, the trainable state, the target's gradients), so a call that
    is retried in a restarted actor gives the same answer.

    Args:
        config: the whole configuration.
    """

    def __init__(self, config: Config):
        self.config = config
        self.loaded = False
        self.tasks: dict[str, Task] = {}  # those that were asked for
        self.cut: set[str] = set()  # tasks that have lost rows since they were loaded
        self.tokens: TokenProcesses | None = None  # that feed a GPU

    def load(self, rows: PoolRows) -> None:
        """Build the model, with a head for each label set, unless that was done before.

        Args:
            rows: all tasks of the run; their rows are fetched when they are asked for.
        """
        if self.loaded:
            return
        target, *sources = rows.bare
        device = torch.device("cuda" if self.config.ray.gpus_per_task_worker > 0 else "cpu")
        if device.type == "cuda":  # one core tokenises fewer rows than a GPU takes
            os.environ["TOKENIZERS_PARALLELISM"] = "true"
        refreshed = self.config.alignment.refresh_interval > 0
        used = sources if refreshed else []
        if self.config.train.share_labels:
            used = sharing_labels(target, used)
        model = build_model(self.config, [target, *used], device=device).to(device)
        self.summariser = TaskSummariser(model, self.config.alignment, self.config.seed)
        # The same layout as the trainer's, so that its parameters can be taken over as one vector.
        self.flat = lay_out(model, target.head, {model.owner(source.head) for source in used}).parameters
        self.initial = self.flat.values.clone() if refreshed else None
        self.loaded = True

    def target(
        self,
        rows: PoolRows,
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
        task = self._task(rows, name)
        if kept is not None:
            task = replace(task, train=task.train.take(kept))
        return self.summariser.target(task, space, step)

    def source(
        self,
        rows: PoolRows,
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
            task = self._task(rows, name)
            self.tasks[name] = replace(task, train=task.train.take(kept))
            self.cut.add(name)
            self.summariser.forget()

        def fetch() -> TargetGradients:
            return target.get() if isinstance(target, Later) else target

        return self.summariser.source(self._task(rows, name), space, step, fetch)

    def target_layers(self, rows: PoolRows, name: str, labels: tuple[str, ...]) -> LayerGradients:
        """The target's gradient by layer, at the model as loaded, for sources with these labels in common."""
        self.load(rows)
        self._take_over(None)
        return LayerComparison(self.summariser.model, self.config.seed).target(self._task(rows, name), labels)

    def source_layers(self, rows: PoolRows, name: str, target: LayerGradients) -> dict[str, float]:
        """Cosine of a source's gradient with the target's, layer by layer."""
        self.load(rows)
        self._take_over(None)
        return LayerComparison(self.summariser.model, self.config.seed).source(self._task(rows, name), target)

    def warm_up(self, rows: PoolRows, parts: Sequence[Task]) -> list[Checkpoint]:
        """Checkpoints of a training on these rows, from the model as loaded; see ``sgg_ray.training.warm_up``."""
        self.load(rows)
        self._take_over(None)
        model = self.summariser.model
        assert isinstance(model, LanguageModel)
        return warm_up(model, parts, self.config.alignment.row_warmup, self.config.seed)

    def row_shards(
        self,
        rows: PoolRows,
        part: Task,
        bounds: Sequence[tuple[int, int]],
        paths: Sequence[str | None],
        checkpoints: Later[list[Checkpoint]] | None = None,
    ) -> list[np.ndarray | None]:
        """Vectors of stretches of a task's rows at the model as loaded: written to the paths, or else returned.

        Args:
            part: the task with the rows of these stretches alone.
            bounds: where in ``part`` each stretch starts and stops.
            paths: of each shard, in a folder that this node may or may not reach; None to return it.
            checkpoints: of a warm-up training, at which rows are compared instead.
        """
        self.load(rows)
        self._take_over(None)
        stretches = self._stretches(part, bounds, None if checkpoints is None else checkpoints.get())
        answers: list[np.ndarray | None] = []
        writing: deque[Future[None]] = deque()
        with ThreadPoolExecutor(WRITERS) as writers:
            for path, found in zip(paths, stretches):
                if path is None or not Path(path).parent.is_dir():
                    answers.append(found)
                    continue
                answers.append(None)
                writing.append(writers.submit(write_shard, Path(path), found))
                if len(writing) > WRITERS:
                    writing.popleft().result()
            for one in writing:
                one.result()
        return answers

    def _stretches(
        self, part: Task, bounds: Sequence[tuple[int, int]], checkpoints: Sequence[Checkpoint] | None
    ) -> Iterator[np.ndarray]:
        model, seed = self.summariser.model, self.config.seed
        if checkpoints is None:
            if self.tokens is None and model.device.type == "cuda" and isinstance(model, EncoderClassifier):
                self.tokens = TokenProcesses(model.tokenizer, model.max_length, process_count())
            return vectors_of_stretches(
                model, part, bounds, seed, self.tokens.tokenise if self.tokens else None
            )
        assert isinstance(model, LanguageModel)
        preconditioner = self.config.alignment.row_warmup.preconditioner
        return trajectory_vectors(model, part, bounds, checkpoints, preconditioner, seed)

    def label_names(self, rows: PoolRows, name: str) -> np.ndarray | None:
        """Features of what a task's labels are called [C, D]; None where they say nothing."""
        self.load(rows)
        self._take_over(None)
        return name_vectors(self.summariser.model, next(task for task in rows.bare if task.name == name))

    def _task(self, rows: PoolRows, name: str) -> Task:
        if name not in self.tasks:
            self.tasks[name] = rows.fetch(name)
        return self.tasks[name]

    def _take_over(self, state: np.ndarray | None) -> None:
        values = self.initial if state is None else torch.tensor(state)
        if values is not None:  # none: the parameters never change
            self.flat.values.copy_(values)
            self.summariser.forget()
