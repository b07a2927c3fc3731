"""Answers of task workers that are under way, and how they are waited for."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Executor, Reference, WorkError
from sgg_ray.scoring import SourceGradients, Space, TargetGradients

T = TypeVar("T")
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class PendingScores:
    """A scoring that is under way: one reference a source, one for the target in each space."""

    executor: Executor = field(repr=False)
    step: int
    started: float
    target: dict[Space, Reference[TargetGradients]]
    sources: dict[str, Reference[SourceGradients]]

    @property
    def references(self) -> list[Reference[Any]]:
        """All answers that are waited for."""
        return [*self.target.values(), *self.sources.values()]

    def is_done(self) -> bool:
        """Whether every answer is there. Does not wait."""
        asked = self.references
        return len(self.executor.wait(asked, len(asked), seconds=0)) == len(asked)


def wait_for_all(
    executor: Executor,
    references: Sequence[Reference[Any]],
    seconds: float,
    what: str,
    listener: Listener,
    tolerated: Collection[Reference[Any]] = (),
) -> None:
    """Wait until all of these are done, telling how many are; raise the first error at once.

    Args:
        seconds: the wait ends when nothing has been done for longer than this since it began.
        what: is counted, such as "task workers".
        tolerated: those whose errors are for the caller to find.

    Raises:
        ClusterError: they are not done in time, or a worker died.
        SggError: what the work raised.
    """
    deadline = time.monotonic() + seconds
    waiting = list(references)
    while waiting:
        done = executor.wait(waiting, seconds=POLL_SECONDS)
        waiting = [reference for reference in waiting if reference not in done]
        for reference in done:
            if reference not in tolerated:
                answer(reference)
        if done:
            listener.advance(len(references) - len(waiting), len(references), what)
        elif time.monotonic() > deadline:
            raise ClusterError(
                f"only {len(references) - len(waiting)} of {len(references)} {what} within {seconds:g} s; "
                "look at the cluster with 'ray status', or lower ray.cpus_per_task_worker"
            )


def answer(reference: Reference[T]) -> T:
    """The value of a finished reference.

    Raises:
        ClusterError: the worker died, or failed in a way that nobody expects.
        SggError: what the work raised.
    """
    try:
        return reference.get()
    except WorkError as error:
        raise ClusterError(f"a task worker failed: {error}") from error
