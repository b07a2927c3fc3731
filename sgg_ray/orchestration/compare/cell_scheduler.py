"""The grid of a comparison: one process a slot, cells handed out one by one, nothing lost when one fails.

A slot keeps to one split (target, shots, seed) while that has cells left, because its process has read and tokenised
those rows; with no split left to begin it helps others.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import Config
from sgg_ray.errors import CapacityError, ClusterError, SggError, TrainingError
from sgg_ray.orchestration.compare.cell_runner import CellKey, CellRunner, Split
from sgg_ray.orchestration.compare.sharded_cells import ShardedCells
from sgg_ray.orchestration.compare.split_scores import SplitScores
from sgg_ray.orchestration.runtime.capacity import rooms
from sgg_ray.orchestration.runtime.executor import (
    Actor,
    Executor,
    Reference,
    Resources,
    WorkerGone,
    WorkError,
)

TRIES = 3  # of a cell, or of the scores of a split
POLL_SECONDS = 1.0
RESTARTS = -1  # of a slot's process: a cell has its tries, the grid goes on

Slot = Actor[Any]


class CellActor:
    """A process that scores splits and trains cells, one at a time."""

    def __init__(self, config: Config):
        device = torch.device("cuda" if config.ray.gpus_per_worker > 0 else "cpu")
        torch.set_num_threads(max(1, int(config.ray.cpus_per_worker)))
        self.runner = CellRunner(config, device)

    def score(self, split: Split) -> SplitScores:
        """Score the sources of one split."""
        with _memory_freed():
            return self.runner.score(split)

    def train(self, key: CellKey, scores: SplitScores) -> dict[str, Any]:
        """Train one cell and return its result."""
        with _memory_freed():
            return self.runner.train(key, scores)


@contextmanager
def _memory_freed() -> Iterator[None]:
    """A cell that does not fit is the cell's fault and not its process's, which goes on."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise TrainingError(
            "out of memory; lower train.batch_size, or ask for more of a GPU (ray.gpus_per_worker)"
        ) from error


@dataclass(frozen=True)
class _Job:
    split: Split
    key: CellKey | None  # None: score the split
    slot: Slot


class CellScheduler:
    """Runs cells until none is left.

    Args:
        executor: what runs the processes.
        config: the whole configuration.
        slots: how many processes; of a model in parts, how many groups.
        cells: what is to be run, by split, in the order in which splits are begun.
        scores: those that are known.
        has_sources: whether a split's sources have to be scored.
        on_scores: takes new scores.
        on_cell: takes the result of a cell.
        on_failure: takes a cell that failed for good, and why.
        on_retry: takes why something failed that is tried again.
        groups: where groups keep what they need while they work.
    """

    def __init__(
        self,
        executor: Executor,
        config: Config,
        slots: int,
        cells: Mapping[Split, Sequence[CellKey]],
        scores: Mapping[Split, SplitScores],
        has_sources: Callable[[Split], bool],
        on_scores: Callable[[Split, SplitScores], None],
        on_cell: Callable[[CellKey, dict[str, Any]], None],
        on_failure: Callable[[CellKey, str], None],
        on_retry: Callable[[str], None] = lambda reason: None,
        groups: StorageFolder | None = None,
    ):
        self.unopened = deque(split for split in cells if cells[split])
        self.cells = {split: deque(keys) for split, keys in cells.items()}
        self.open: set[Split] = set()
        self.scores = dict(scores)
        self.has_sources = has_sources
        self.on_scores, self.on_cell, self.on_failure = on_scores, on_cell, on_failure
        self.tries: dict[CellKey | Split, int] = {}
        self.home: dict[Slot, Split] = {}  # the split that a slot keeps to
        self.pending: dict[Reference[Any], _Job] = {}
        self.executor, self.config, self.on_retry, self.groups = executor, config, on_retry, groups
        self.kind = CellActor if config.ray.sharding is None else ShardedCells
        self.slots: list[Slot] = [self._new_slot() for _ in range(slots)]
        self.last_failure = ""

    def run(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Run to the end.

        Args:
            on_wait: called whenever something may have happened.

        Raises:
            ClusterError: no slot is left alive.
        """
        idle = list(self.slots)
        while True:
            idle = [slot for slot in idle if not self._start(slot)]
            if not self.pending:
                if not self.slots and self._left():
                    raise ClusterError(f"all processes of the grid have died: {self.last_failure}")
                return
            for reference in self.executor.wait(list(self.pending), seconds=POLL_SECONDS):
                idle += self._take(reference)
            on_wait()

    def close(self) -> None:
        """End all processes."""
        for slot in self.slots:
            slot.kill()

    def _new_slot(self) -> Slot:
        if (
            self.kind is ShardedCells
        ):  # which only waits: a CPU that it held could keep its group from starting
            needs, given = Resources(0, 0), (self.config, self.executor, self.groups)
        else:
            needs = Resources(self.config.ray.cpus_per_worker, self.config.ray.gpus_per_worker)
            given = (self.config,)
        return self.executor.start(self.kind, *given, resources=needs, restarts=RESTARTS)

    def _left(self) -> bool:
        return bool(self.unopened) or any(self.cells[split] for split in self.open)

    def _start(self, slot: Slot) -> bool:
        """Give the slot work, if there is any that can begin."""
        split = self._choose(slot)
        if split is None:
            return False
        self.home[slot] = split
        if split not in self.open:
            # Only reached for a split that has to be scored; nobody else takes its cells before that.
            job, reference = _Job(split, None, slot), slot.call(self.kind.score, split)
        else:
            key = self.cells[split].popleft()
            job = _Job(split, key, slot)
            reference = slot.call(self.kind.train, key, self.scores.get(split, {}))
        self.pending[reference] = job
        return True

    def _choose(self, slot: Slot) -> Split | None:
        home = self.home.get(slot)
        if home in self.open and self.cells[home]:
            return home
        if self.unopened:
            split = self.unopened.popleft()
            if split in self.scores or not self.has_sources(split):
                self.open.add(split)
            return split
        fullest = max(self.open, key=lambda split: len(self.cells[split]), default=None)
        return fullest if fullest is not None and self.cells[fullest] else None

    def _take(self, reference: Reference[Any]) -> list[Slot]:
        """Take in what a job came to; returns the slot that can work on, if there is one."""
        job = self.pending.pop(reference)
        try:
            value = reference.get()
        except SggError as error:
            self._failed(job, error.problems[0])
            return self._after(job.slot, error)
        if job.key is None:
            self.scores[job.split] = value
            self.open.add(job.split)
            self.on_scores(job.split, value)
        else:
            self.on_cell(job.key, value)
        return [job.slot]

    def _after(self, slot: Slot, error: SggError) -> list[Slot]:
        """The slot that goes on after a job failed: the same one, another one, or none."""
        match error:
            case WorkerGone():
                self.slots.remove(slot)
                return []
            case WorkError():
                # An exception that nobody expects may leave a process, or its GPU context, unusable; one that ended is
                # being restarted, and Ray 2.60 refuses every call to it after two seconds (ActorUnavailableError). That
                # would use up the tries of one cell after the other. A new actor takes calls while it starts.
                slot.kill()
                self.slots.remove(slot)
                self.slots.append(self._new_slot())
                return self.slots[-1:]
            case _:  # what is wrong is the cell, not its process
                return [slot]

    def _failed(self, job: _Job, reason: str) -> None:
        """Try again later, or give up."""
        self.last_failure = reason
        what = job.key or job.split
        self.tries[what] = self.tries.get(what, 0) + 1
        final = self.tries[what] >= TRIES
        if not final:
            self.on_retry(reason)
        if job.key is not None:
            if final:
                self.on_failure(job.key, reason)
            else:
                self.cells[job.split].append(job.key)
        elif final:
            while self.cells[job.split]:
                self.on_failure(self.cells[job.split].popleft(), f"the sources were not scored: {reason}")
        else:
            self.unopened.append(job.split)


def slots_for(config: Config, most: int | None, jobs: int, executor: Executor) -> int:
    """How many processes fit at a time, or groups of them: each process must find all it needs on one node.

    Raises:
        CapacityError: there is no room for one.
    """
    cpus, gpus, workers = config.ray.cpus_per_worker, config.ray.gpus_per_worker, config.ray.num_workers
    found = sum(rooms(cpus, gpus, executor))
    fit = found // workers
    if fit < 1 and workers > 1:
        raise CapacityError(
            f"ray.num_workers: a cell needs {workers} workers of {cpus:g} CPUs and {gpus:g} GPUs each, the cluster's "
            f"nodes have room for {found} of these; request less"
        )
    if fit < 1:
        raise CapacityError(
            f"ray.cpus_per_worker: no node has the {cpus:g} CPUs and {gpus:g} GPUs that one cell needs; request less"
        )
    return max(1, min(fit, most or fit, jobs))
