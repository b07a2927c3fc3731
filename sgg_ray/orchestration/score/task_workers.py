"""Score all sources against the target: start the task workers, exchange summaries, make the report."""

import textwrap
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError

from sgg_ray.alignment import (
    AlignmentReport,
    Score,
    SourceAlignment,
    matched_cosine,
    mixture_weights,
    verdict,
)
from sgg_ray.config import Config
from sgg_ray.errors import ClusterError, SggError
from sgg_ray.gradients import GradientSummary
from sgg_ray.models import find_model
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.runtime.cluster import task_worker_count
from sgg_ray.orchestration.score.task_actor import TaskWorker
from sgg_ray.scoring import SourceGradients, Space, comparison_space, scores_of, spaces_of
from sgg_ray.tasks import Task

START_SECONDS = 600  # bound for loading the model in all workers
SCORE_SECONDS = 1800  # bound for one scoring of all sources


@dataclass(frozen=True)
class PendingScores:
    """A scoring that is under way: one reference a source, one for the target in each space."""

    step: int
    started: float
    target: dict[Space, ray.ObjectRef]
    sources: dict[str, ray.ObjectRef]

    def is_done(self) -> bool:
        """Whether every answer is there. Does not wait."""
        references = [*self.target.values(), *self.sources.values()]
        done, _ = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        return len(done) == len(references)


@dataclass(frozen=True)
class TaskWorkers:
    """The task workers of one run. Can be sent to other processes: it holds handles, not actors.

    Args:
        config: the whole configuration.
        target: name, role and labels of the target (rows are with the workers).
        sources: the same of the sources.
        workers: which actor holds which task.
        rows: keeps all rows in the object store, for workers that have to restart.
        causal: the model is a causal language model.
        loading: what tells that an actor has loaded the model; waited for by ``ready``.
    """

    config: Config
    target: Task
    sources: list[Task]
    workers: dict[str, Any] = field(repr=False)
    rows: ray.ObjectRef = field(repr=False)
    causal: bool = False
    loading: tuple[ray.ObjectRef, ...] = field(default=(), repr=False)

    @classmethod
    def start(
        cls, config: Config, target: Task, sources: Sequence[Task], listener: Listener | None = None
    ) -> "TaskWorkers":
        """Start the task workers, one a task as far as they fit, and wait until all have loaded the model.

        Raises:
            ClusterError: they do not come up.
            SggError: what kept a worker from loading the model.
        """
        exchange = cls.launch(config, target, sources)
        try:
            exchange.ready(listener)
        except BaseException:
            exchange.close()
            raise
        return exchange

    @classmethod
    def launch(cls, config: Config, target: Task, sources: Sequence[Task]) -> "TaskWorkers":
        """Start the task workers and return at once: they load libraries and model beside what the driver does."""
        causal = find_model(config.model.path).causal
        tasks = [target, *sources]
        count = task_worker_count(config)
        rows = ray.put(tasks)
        names = [[task.name for task in tasks[number::count]] for number in range(count)]
        options = {"num_cpus": config.ray.cpus_per_task_worker, "num_gpus": config.ray.gpus_per_task_worker}
        actors = [TaskWorker.options(**options).remote(config) for _ in names]
        workers = {name: actor for part, actor in zip(names, actors) for name in part}
        bare = [_without_rows(task) for task in tasks]
        loading = tuple(actor.load.remote([rows]) for actor in actors)
        return cls(config, bare[0], bare[1:], workers, rows, causal, loading)

    def ready(self, listener: Listener | None = None) -> None:
        """Wait until all workers have loaded the model.

        Raises:
            ClusterError: they do not come up.
            SggError: what kept a worker from loading the model.
        """
        self._wait(self.loading, START_SECONDS, "task workers", listener or NullListener())

    def request(
        self, step: int, state: np.ndarray | None = None, kept: np.ndarray | None = None
    ) -> PendingScores:
        """Ask all workers for summaries at step ``step``, without waiting.

        Args:
            state: trainable parameters [P]; none for the model as loaded. Broadcast once, read without copying.
            kept: positions of the target's shots to score with; none for all.
        """
        shared = None if state is None else ray.put(state)
        share_labels = self.config.train.share_labels
        target = {
            space: self.workers[self.target.name].target.remote(
                [self.rows], self.target.name, space, step, shared, kept
            )
            for space in spaces_of(self.target, self.sources, self.causal, share_labels)
        }
        sources = {}
        for source in self.sources:
            space = self._space(source)
            worker = self.workers[source.name]
            # Where the target has the same worker, its gradients must be there before the source's call begins: after
            # a restart Ray retries calls in any order, and a call that waits for one behind it would wait for ever.
            waits = worker != self.workers[self.target.name]
            sources[source.name] = worker.source.remote(
                [self.rows], source.name, space, step, shared, [target[space]] if waits else target[space]
            )
        return PendingScores(step, time.monotonic(), target, sources)

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
        references = [*pending.target.values(), *pending.sources.values()]
        self._wait(
            references,
            SCORE_SECONDS,
            "tasks summarised",
            listener or NullListener(),
            tolerate=set(pending.sources.values()),
        )
        return self.collect(pending)

    def collect(self, pending: PendingScores) -> AlignmentReport:
        """Make the report from answers that are there."""
        targets = {space: _get(reference) for space, reference in pending.target.items()}
        found: dict[str, SourceGradients] = {}
        failures: dict[str, str] = {}
        for name, reference in pending.sources.items():
            try:
                found[name] = _get(reference)
            except SggError as error:
                failures[name] = error.problems[0]
        settings = self.config.alignment
        by_name = scores_of(targets, found, settings.confidence)
        scores: list[Score | None] = [by_name.get(source.name) for source in self.sources]
        weights = mixture_weights(scores, settings.weighting, settings.temperature)
        rows = [
            SourceAlignment(
                source=source.name,
                rows=found[source.name].summary.examples if source.name in found else 0,
                space=self._space(source).name,
                step=pending.step,
                score=score,
                verdict=verdict(score),
                weight=float(weight),
                note=failures.get(source.name, _contradiction(score)),
            )
            for source, score, weight in zip(self.sources, scores, weights)
        ]
        summaries = [
            [(gradients.summary, gradients.rows) for gradients in targets.values()],
            *([(found[s.name].summary, found[s.name].rows)] if s.name in found else [] for s in self.sources),
        ]
        return AlignmentReport(
            target=self.target.name,
            step=pending.step,
            weighting=settings.weighting,
            sources=rows,
            similarity=_similarity(summaries),
            seconds=time.monotonic() - pending.started,
            confidence=settings.confidence,
            details={"model": self.config.model.path, "seed": self.config.seed},
        )

    def layers(self, listener: Listener | None = None) -> dict[str, dict[str, float]]:
        """Cosine of each source's gradient with the target's, layer by layer, at the model as loaded.

        For people to look at: a source for which it cannot be computed is left out.
        """
        common = {source.name: self._common_labels(source) for source in self.sources}
        owner = self.workers[self.target.name]
        targets = {
            labels: owner.target_layers.remote([self.rows], self.target.name, labels)
            for labels in dict.fromkeys(common.values())
        }
        pending = {
            name: self.workers[name].source_layers.remote([self.rows], name, targets[labels])
            for name, labels in common.items()
        }
        references = list(pending.values())
        self._wait(
            references, SCORE_SECONDS, "tasks compared", listener or NullListener(), tolerate=set(references)
        )
        found: dict[str, dict[str, float]] = {}
        for name, reference in pending.items():
            with suppress(SggError):
                found[name] = _get(reference)
        return found

    def _common_labels(self, source: Task) -> tuple[str, ...]:
        common = tuple(label for label in self.target.labels if label in source.labels)
        return common if len(common) > 1 and not self.causal else ()

    def _space(self, source: Task) -> Space:
        return comparison_space(self.target, source, self.causal, self.config.train.share_labels)

    def close(self) -> None:
        """End the workers."""
        for actor in {id(actor): actor for actor in self.workers.values()}.values():
            ray.kill(actor)

    def _wait(
        self,
        references,
        seconds: float,
        what: str,
        listener: Listener,
        tolerate: Collection[ray.ObjectRef] = (),
    ) -> None:
        """Wait for all references, telling how many are there; raise the first error at once."""
        deadline = time.monotonic() + seconds
        waiting = list(references)
        while waiting:
            done, waiting = ray.wait(waiting, timeout=1.0, fetch_local=False)
            for reference in done:
                if reference not in tolerate:
                    _get(reference)
            if done:
                listener.advance(len(references) - len(waiting), len(references), what)
            elif time.monotonic() > deadline:
                raise ClusterError(
                    f"only {len(references) - len(waiting)} of {len(references)} {what} within {seconds:g} s; "
                    "look at the cluster with 'ray status', or lower ray.cpus_per_task_worker"
                )


class RefreshedWeights:
    """Source weights that follow the model while it trains: the loop's ``WeightUpdates``, without ever waiting.

    Scores that were asked for at one refresh are used from the next one on. Late or failed ones change nothing, nor
    do those without an answer for a source that has a weight. A thread brings the parameters to the host and into the
    object store: training goes on meanwhile.

    Args:
        workers: who is asked.
        weights: of the sources until the first new ones.
        on_report: called with scores whose weights are taken.
        on_problem: called with a line about scores that are not.
    """

    def __init__(
        self,
        workers: TaskWorkers,
        weights: Mapping[str, float],
        on_report=lambda report: None,
        on_problem=lambda text: None,
    ):
        self.workers, self.weights = workers, weights
        self.on_report, self.on_problem = on_report, on_problem
        self._thread = ThreadPoolExecutor(1, "scores")
        self._host = HostCopy()
        self._asked: Future[PendingScores] | None = None
        self._step = 0

    def exchange(self, step: int, values: torch.Tensor) -> Mapping[str, float] | None:
        """Collect what was asked for last time, if it is there, and ask again at ``values`` [P]."""
        weights = None
        if self._asked is not None:
            if not self.is_done():
                self.on_problem(f"scores of step {self._step} are late at step {step}: the old weights stay")
                return None  # one scoring at a time: asking again would only make the workers later
            try:
                report = self.workers.collect(self._asked.result())
                self._require_all(report)
                weights = self.weights = report.weights
                self.on_report(report)
            except (SggError, RayError) as error:
                reason = error.problems[0] if isinstance(error, SggError) else str(error).splitlines()[0]
                self.on_problem(f"scores of step {self._step} failed ({reason}): the old weights stay")
        self._step = step
        host = self._host.copy(values)
        self._asked = self._thread.submit(lambda: self.workers.request(step, host()))
        return weights

    def _require_all(self, report: AlignmentReport) -> None:
        """A source that had a weight would lose it because a worker had no memory, or could not be reached."""
        lost = [
            row for row in report.sources if row.score is None and self.weights.get(row.source, 0.0) > 0.0
        ]
        if lost:
            raise ClusterError(f"of {', '.join(row.source for row in lost)}: {lost[0].note}")

    def is_done(self) -> bool:
        """Whether all answers to the last question are there, or none will come. Does not wait."""
        asked = self._asked
        return asked is None or (asked.done() and (asked.exception() is not None or asked.result().is_done()))


class HostCopy:
    """Brings vectors to the host while the device goes on, one at a time, through memory that it keeps.

    Page-locked memory: a copy to other memory passes through the driver piece by piece, and makes kernels that are
    launched meanwhile wait. Measured: 0.3 s for 340 MB.
    """

    def __init__(self):
        self._pinned: torch.Tensor | None = None

    def copy(self, values: torch.Tensor) -> Callable[[], np.ndarray]:
        """``values`` [P] as they are now; calling the result, once, gives them on the host, until the next copy."""
        copied = values.detach().clone()
        if not copied.is_cuda:
            return copied.numpy
        ready = torch.cuda.Event()
        ready.record()

        def fetch() -> np.ndarray:
            if self._pinned is None:
                self._pinned = torch.empty(copied.shape, dtype=copied.dtype, pin_memory=True)
            stream = torch.cuda.Stream(copied.device)
            stream.wait_event(ready)
            with torch.cuda.stream(stream):
                self._pinned.copy_(copied, non_blocking=True)
                done = torch.cuda.Event(blocking=True)
                done.record()
            done.synchronize()
            return self._pinned.numpy()

        return fetch


def _get(reference: ray.ObjectRef) -> Any:
    """The value of a finished reference, with errors from the worker as what they were there."""
    try:
        return ray.get(reference)
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, SggError):
            raise cause from None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # Ray 2.60 goes on for a paragraph about what a process may have died of.
        reason = textwrap.shorten(lines[-1].partition(" Worker exit type")[0], 240, placeholder=" …")
        raise ClusterError(f"a task worker failed: {reason}") from error


def _contradiction(score: Score | None) -> str:
    return f"contradicts {score.opposes} on the labels they share" if score and score.opposes else ""


def _without_rows(task: Task) -> Task:
    return replace(task, train=task.train.take([]), test=task.test.take([]))


def _similarity(summaries: list[list[tuple[GradientSummary, int]]]) -> np.ndarray:
    """Cosines between mean gradients [n, n]; of tasks with other labels, under the best matching of these.

    NaN between tasks whose gradients cannot be compared.

    Args:
        summaries: of each task in its spaces, with the number of rows that its gradient has as a matrix.
    """
    size = len(summaries)
    matrix = np.full((size, size), np.nan)
    for row, mine in enumerate(summaries):
        for column, theirs in enumerate(summaries):
            same = [(a, b) for a, _ in mine for b, _ in theirs if (a.space, a.seed) == (b.space, b.seed)]
            matrices = [
                (a.mean.reshape(rows, -1), b.mean.reshape(others, -1))
                for a, rows in mine
                for b, others in theirs
                if a.seed is None and b.seed is None and len(a.mean) * others == len(b.mean) * rows
            ]
            if same:
                matrix[row, column] = same[0][0].cosine(same[0][1])
            elif matrices:
                matrix[row, column] = matched_cosine(*matrices[0])
    return matrix
