"""Score all sources against the target: start the task workers, ask them for summaries, collect the answers."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgg_ray.alignment import AlignmentReport
from sgg_ray.config import Config
from sgg_ray.errors import SggError
from sgg_ray.models import find_model
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.runtime.capacity import task_worker_count
from sgg_ray.orchestration.runtime.executor import Actor, Executor, Later, Reference, Resources
from sgg_ray.orchestration.runtime.ray_executor import RayExecutor
from sgg_ray.orchestration.score.pending_scores import PendingScores, answer, wait_for_all
from sgg_ray.orchestration.score.pool_rows import PoolRows
from sgg_ray.orchestration.score.task_actor import TaskWorker
from sgg_ray.scoring import (
    PoolGradients,
    SourceGradients,
    Space,
    comparison_spaces,
    run_report,
)
from sgg_ray.tasks import Task

START_SECONDS = 600  # bound for loading the model in all workers
SCORE_SECONDS = 1800  # bound for one scoring of all sources
RESTARTS = 2  # of a task worker
# Restarts are bounded, retries of calls are not: while its node is being given up for dead an actor is "unavailable"
# for many calls in a row, each of which would count. What waits for the answers has a bound of its own.
RETRIES = -1


@dataclass(frozen=True)
class TaskWorkers:
    """The task workers of one run. Can be sent to other processes: it holds handles, not actors.

    Args:
        config: the whole configuration.
        target: name, role and labels of the target (rows are with the workers).
        sources: the same of the sources.
        executor: what runs them.
        workers: which actor holds which task.
        rows: keeps the rows in the object store, for workers that have to restart.
        language_model: the model is one, and has no heads.
        loading: what tells that an actor has loaded the model; waited for by ``ready``.
        kept: positions of the rows of a source to use, by name; of others all.
    """

    config: Config
    target: Task
    sources: list[Task]
    executor: Executor
    workers: dict[str, Actor[TaskWorker]] = field(repr=False)
    rows: PoolRows = field(repr=False)
    language_model: bool = False
    loading: tuple[Reference[None], ...] = field(default=(), repr=False)
    kept: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def start(
        cls,
        config: Config,
        target: Task,
        sources: Sequence[Task],
        listener: Listener | None = None,
        executor: Executor | None = None,
    ) -> "TaskWorkers":
        """Start the task workers, one a task as far as they fit, and wait until all have loaded the model.

        Args:
            executor: what runs them; Ray unless given.

        Raises:
            ClusterError: they do not come up.
            SggError: what kept a worker from loading the model.
        """
        workers = cls.launch(config, target, sources, executor)
        try:
            workers.ready(listener)
        except BaseException:
            workers.close()
            raise
        return workers

    @classmethod
    def launch(
        cls, config: Config, target: Task, sources: Sequence[Task], executor: Executor | None = None
    ) -> "TaskWorkers":
        """Start the task workers and return at once: they load libraries and model beside what the driver does."""
        executor = executor or RayExecutor()
        language_model = find_model(config.model.path).architecture.is_language_model
        tasks = [target, *sources]
        count = task_worker_count(config, executor)
        rows = PoolRows.put(executor, tasks)
        names = [[task.name for task in tasks[number::count]] for number in range(count)]
        resources = Resources(config.ray.cpus_per_task_worker, config.ray.gpus_per_task_worker)
        actors = [
            executor.start(TaskWorker, config, resources=resources, restarts=RESTARTS, retries=RETRIES)
            for _ in names
        ]
        workers = {name: actor for part, actor in zip(names, actors) for name in part}
        loading = tuple(actor.call(TaskWorker.load, rows) for actor in actors)
        bare_target, *bare_sources = rows.bare
        return cls(config, bare_target, bare_sources, executor, workers, rows, language_model, loading)

    def ready(self, listener: Listener | None = None) -> None:
        """Wait until all workers have loaded the model.

        Raises:
            ClusterError: they do not come up.
            SggError: what kept a worker from loading the model.
        """
        self._wait(self.loading, START_SECONDS, "task workers", listener)

    def request(
        self, step: int, state: np.ndarray | None = None, kept: np.ndarray | None = None
    ) -> PendingScores:
        """Ask all workers for summaries at step ``step``, without waiting.

        Args:
            state: trainable parameters [P]; none for the model as loaded. Broadcast once, read without copying.
            kept: positions of the target's shots to score with; none for all.
        """
        shared = None if state is None else self.executor.put(state)
        spaces, owner = self._spaces(), self.workers[self.target.name]
        target = {
            space: owner.call(TaskWorker.target, self.rows, self.target.name, space, step, shared, kept)
            for space in dict.fromkeys(spaces.values())
        }
        sources = {}
        for source in self.sources:
            space = spaces[source.name]
            worker = self.workers[source.name]
            # Where the target has the same worker, its gradients must be there before the source's call begins: after
            # a restart calls are retried in any order, and one that waits for one behind it would wait for ever.
            gradients = target[space] if worker is owner else Later(target[space])
            sources[source.name] = worker.call(
                TaskWorker.source,
                self.rows,
                source.name,
                space,
                step,
                shared,
                gradients,
                self.kept.get(source.name),
            )
        return PendingScores(self.executor, step, time.monotonic(), target, sources)

    def score(
        self, step: int = 0, listener: Listener | None = None, kept: np.ndarray | None = None
    ) -> AlignmentReport:
        """Score every source at the model as loaded, and wait for the report.

        A source that fails is reported as failed and left out; a target that fails is an error.

        Args:
            kept: positions of the target's shots to score with; none for all.

        Raises:
            ClusterError: the workers do not answer in time, or the target's worker keeps dying.
            SggError: the target's gradients are unusable.
        """
        pending = self.request(step, kept=kept)
        tolerated = set(pending.sources.values())
        self._wait(pending.references, SCORE_SECONDS, "tasks summarised", listener, tolerated)
        return self.collect(pending)

    def collect(self, pending: PendingScores) -> AlignmentReport:
        """Make the report from answers that are there.

        Raises:
            SggError: the target's gradients could not be taken.
        """
        targets = {space: answer(reference) for space, reference in pending.target.items()}
        found: dict[str, SourceGradients] = {}
        failures: dict[str, str] = {}
        for name, reference in pending.sources.items():
            try:
                found[name] = answer(reference)
            except SggError as error:
                failures[name] = error.problems[0]
        gradients = PoolGradients(self.target.name, self._spaces(), targets, found, failures)
        seconds = time.monotonic() - pending.started
        return run_report(self.config, gradients, step=pending.step, seconds=seconds)

    def layers(self, listener: Listener | None = None) -> dict[str, dict[str, float]]:
        """Cosine of each source's gradient with the target's, layer by layer, at the model as loaded.

        For people to look at: a source for which it cannot be computed is left out, such as one without classes.
        """
        if self.target.values_only:
            return {}
        common = {
            source.name: self._common_labels(source) for source in self.sources if not source.values_only
        }
        owner = self.workers[self.target.name]
        targets = {
            labels: owner.call(TaskWorker.target_layers, self.rows, self.target.name, labels)
            for labels in dict.fromkeys(common.values())
        }
        pending = {
            name: self.workers[name].call(TaskWorker.source_layers, self.rows, name, targets[labels])
            for name, labels in common.items()
        }
        references = list(pending.values())
        self._wait(references, SCORE_SECONDS, "tasks compared", listener, set(references))
        found: dict[str, dict[str, float]] = {}
        for name, reference in pending.items():
            with suppress(SggError):
                found[name] = answer(reference)
        return found

    def _common_labels(self, source: Task) -> tuple[str, ...]:
        common = tuple(label for label in self.target.labels if label in source.labels)
        return common if len(common) > 1 and not self.language_model else ()

    def _spaces(self) -> dict[str, Space]:
        return comparison_spaces(
            self.target, self.sources, self.language_model, self.config.train.share_labels
        )

    def _wait(
        self,
        references: Sequence[Reference[Any]],
        seconds: float,
        what: str,
        listener: Listener | None,
        tolerated: Collection[Reference[Any]] = (),
    ) -> None:
        wait_for_all(self.executor, references, seconds, what, listener or NullListener(), tolerated)

    def close(self) -> None:
        """End the workers."""
        for actor in {id(actor): actor for actor in self.workers.values()}.values():
            actor.kill()
