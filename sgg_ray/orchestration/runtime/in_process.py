"""The executor without processes: everything runs here, one call at a time, when somebody waits for it."""

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, TypeVar, cast

import torch

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import RayConfig
from sgg_ray.errors import ClusterError, SggError
from sgg_ray.orchestration.messages import Message
from sgg_ray.orchestration.runtime.executor import (
    Actor,
    Reference,
    Resources,
    WorkerDied,
    WorkerGone,
    WorkFailed,
)

T = TypeVar("T")


class InProcessExecutor:
    """Runs calls in the order in which they were asked for, a call's arguments before itself.

    Nothing runs before it is waited for, so a driver that waits for one call sees one call run, and what is killed or
    cancelled before has not run at all. What is handed over is not copied. Work that raises ``SystemExit`` stands for a
    process that dies: it is restarted, and its call tried again, as often as was asked for.

    Args:
        nodes: the cluster that it claims to be; one node with the CPUs of this machine unless given.
    """

    def __init__(self, nodes: Sequence[Resources] = ()):
        self._nodes = list(nodes) or [Resources(cpus=float(os.cpu_count() or 1))]
        self._queue: deque[InProcessReference[Any]] = deque()
        self._turn = threading.RLock()  # one call at a time, whichever threads wait

    def inbox(self) -> "InProcessInbox":
        """A list in this process."""
        return InProcessInbox()

    def nodes(self, labels: Mapping[str, str] | None = None) -> list[Resources]:
        """The cluster that it claims to be, whatever its labels."""
        return list(self._nodes)

    def put(self, value: T) -> Reference[T]:
        """The value itself."""
        stored = InProcessReference(self, lambda: value)
        stored.run()
        return stored

    def start(
        self,
        kind: Callable[..., T],
        *arguments: object,
        resources: Resources,
        restarts: int = 0,
        retries: int = 0,
    ) -> Actor[T]:
        """Make the object when it is called first."""
        return InProcessActor(self, lambda: kind(*map(_fetched, arguments)), restarts, retries)

    def submit(
        self, function: Callable[..., T], *arguments: object, resources: Resources, retries: int = 0
    ) -> Reference[T]:
        """Queue a function."""
        process = InProcessActor(self, lambda: None, retries, retries)
        return self._ask(process, lambda _: function(*map(_fetched, arguments)))

    def together(
        self,
        function: Callable[..., T],
        *arguments: object,
        asked: RayConfig,
        state: StorageFolder,
        seconds: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> T:
        """Run it here, as a group of one."""
        found = function(*arguments, torch.device("cpu"))
        meanwhile()
        return found

    def wait(
        self, references: Sequence[Reference[T]], count: int = 1, seconds: float | None = None
    ) -> list[Reference[T]]:
        """Run what is queued until ``count`` of these are done; with ``seconds`` = 0, nothing."""
        asked = cast(Sequence[InProcessReference[T]], references)
        while seconds != 0 and sum(one.done for one in asked) < count and self._queue:
            self.run_next()
        return [one for one in references if cast(InProcessReference[T], one).done][:count]

    def cancel(self, reference: Reference[object]) -> None:
        """Keep a call that has not run from running."""
        asked = cast(InProcessReference[object], reference)
        if not asked.done:
            asked.end(WorkFailed("the call was cancelled"))

    def run_next(self) -> None:
        """Run the call that has been waiting longest."""
        with self._turn:
            if self._queue:
                self._queue.popleft().run()

    def _ask(self, process: "InProcessActor[Any]", work: Callable[[Any], T]) -> "InProcessReference[T]":
        reference = InProcessReference(self, lambda: process.run(work), process)
        self._queue.append(reference)
        return reference

    def _end_calls_of(self, process: "InProcessActor[Any]", error: BaseException) -> None:
        for reference in self._queue:
            if reference.process is process and not reference.done:
                reference.end(error)


class InProcessInbox:
    """Both ends of what is told: a list, and how much of each attempt's history the driver has."""

    def __init__(self):
        self.messages: list[Message] = []
        self.counts: Mapping[str, int] = {}
        self.checkpoint_wanted = False
        self.closed = False

    @property
    def log(self) -> "InProcessInbox":
        """The other end is here too."""
        return self

    def tell(self, message: Message, attempt: str = "") -> "InProcessReceipt":
        """Take a message, unless nobody will fetch it."""
        if not self.closed:
            self.messages.append(message)
        return InProcessReceipt(self.counts.get(attempt, 0))

    def wants_checkpoint(self) -> bool:
        """Whether the driver waits for a checkpoint."""
        return self.checkpoint_wanted

    def require_driver(self) -> None:
        """Raise ClusterError once it is closed."""
        if self.closed:
            raise ClusterError("the driver of this training is gone")

    def fetch(self, taken: Mapping[str, int]) -> list[Message]:
        """What is new."""
        self.counts = dict(taken)
        return list(self.messages)

    def want_checkpoint(self) -> None:
        """Workers learn at once that the driver waits for a checkpoint."""
        self.checkpoint_wanted = True

    def close(self, taken: Mapping[str, int]) -> list[Message]:
        """What is new, for the last time."""
        self.closed = True
        return self.fetch(taken)

    def done(self) -> None:
        """The first message has been taken in."""
        del self.messages[0]


@dataclass(frozen=True)
class InProcessReceipt:
    """How many entries of a history the driver had when it was told another."""

    count: int

    def taken(self) -> int:
        """Entries of the history that the driver had when it was told."""
        return self.count


class InProcessReference(Generic[T]):
    """A call, run once at most, and what it came to."""

    def __init__(
        self, executor: InProcessExecutor, work: Callable[[], T], process: "InProcessActor[Any] | None" = None
    ):
        self.executor, self.process, self._work = executor, process, work
        self.done, self._value, self._error = False, cast(T, None), cast(BaseException | None, None)

    def get(self) -> T:
        """Run it, unless that was done before; see ``Reference.get``."""
        with self.executor._turn:
            self.run()
        if self._error is not None:
            raise self._error
        return self._value

    def run(self) -> None:
        """Run the work and keep what it came to."""
        if self.done:
            return
        try:
            self._value = self._work()
        except SggError as error:
            self._error = error
        except Exception as error:
            failed = WorkFailed(f"{type(error).__name__}: {error}")
            failed.__cause__ = error
            self._error = failed
        self.done = True

    def end(self, error: BaseException) -> None:
        """Have the call fail with ``error``: it will never run."""
        self._error, self.done = error, True


class InProcessActor(Generic[T]):
    """An object that stands for a process: it can die, and be made again."""

    def __init__(self, executor: InProcessExecutor, make: Callable[[], T], restarts: int, retries: int):
        self.executor, self.make, self.restarts, self.retries = executor, make, restarts, retries
        self.object: T | None = None
        self.gone: WorkerGone | None = None
        self.started = False

    def call(self, method: Callable[Concatenate[T, ...], Any], *arguments: object) -> Reference[Any]:
        """Queue a method."""
        name = method.__name__
        return self.executor._ask(self, lambda held: getattr(held, name)(*map(_fetched, arguments)))

    def kill(self) -> None:
        """No call of it runs any more."""
        self._die("the process was ended", restarts=0)

    def run(self, work: Callable[[T], Any]) -> Any:
        """Do the work with the object, making it again as often as it may die."""
        retries = self.retries
        while True:
            if self.gone is not None:
                raise self.gone
            try:
                return work(self._living())
            except SystemExit as death:
                self._die(f"the process ended with {death.code}", self.restarts)
                if self.gone is None and retries == 0:
                    raise WorkerDied(f"the process ended with {death.code}") from None
                retries -= 1

    def _living(self) -> T:
        if not self.started:
            self.object, self.started = self.make(), True
        return cast(T, self.object)

    def _die(self, reason: str, restarts: int) -> None:
        self.object, self.started = None, False
        if restarts == 0:
            self.gone = WorkerGone(reason)
            self.executor._end_calls_of(self, self.gone)
        self.restarts = restarts - 1


def _fetched(argument: object) -> Any:
    return argument.get() if isinstance(argument, InProcessReference) else argument
