"""The seam to Ray: what driver logic asks of whatever runs its work.

A driver decides what runs, in which order, what is tried again and what is passed on. It asks an :class:`Executor` to
run things and knows no other way. ``ray_executor.RayExecutor`` runs them in the processes of a cluster,
``in_process.InProcessExecutor`` in the driver's own process, one after the other, for tests and for a debugger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, Generic, Protocol, TypeVar

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import RayConfig
from sgg_ray.errors import ClusterError

if TYPE_CHECKING:
    from sgg_ray.orchestration.messages import Message
    from sgg_ray.orchestration.runtime.event_log import Log

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A_co = TypeVar("A_co", covariant=True)
SLACK = 1e-9  # for sums of fractions of a GPU


class WorkError(ClusterError):
    """Work that came to no end of its own. What the work itself raises as an ``SggError`` is raised as that."""


class WorkFailed(WorkError):
    """The work raised something that nobody expects; its process may be unusable from now on."""


class WorkerDied(WorkError):
    """The process ended, or cannot be reached. A new one takes its place; whoever wants the answer asks again."""


class WorkerGone(WorkerDied):
    """The process ended and no other takes its place: every later call ends like this one."""


@dataclass(frozen=True)
class Resources:
    """What a process needs, or what a node has. GPUs may be fractions."""

    cpus: float = 1.0
    gpus: float = 0.0

    def room_for(self, process: "Resources") -> int:
        """How many such processes a node with these resources holds."""
        by_cpu = int(self.cpus / max(process.cpus, SLACK) + SLACK)
        return min(by_cpu, int(self.gpus / process.gpus + SLACK)) if process.gpus else by_cpu


class Reference(Protocol[T_co]):
    """A value that is stored, or that a call will come to. Can be sent to other processes."""

    def get(self) -> T_co:
        """Wait for the value.

        Raises:
            SggError: what the work raised.
            WorkError: the work, or the process that did it, ended in another way.
        """
        ...


@dataclass(frozen=True)
class Later(Generic[T]):
    """Hands a reference to a call as it is, for the call to fetch the value when, and if, it is needed.

    A reference that is itself an argument is fetched before the call begins.
    """

    reference: Reference[T]

    def get(self) -> T:
        """Wait for the value; see :meth:`Reference.get`."""
        return self.reference.get()


class Actor(Protocol[A_co]):
    """A process that holds an object of a class and runs its methods, one at a time."""

    def call(self, method: Callable[Concatenate[A_co, ...], T], *arguments: object) -> Reference[T]:
        """Ask for a method of the object, without waiting.

        Args:
            method: as the class has it, such as ``TaskWorker.load``.
            arguments: values, references (fetched before the call begins) and ``Later`` ones.
        """
        ...

    def kill(self) -> None:
        """End the process. Calls that it has not answered end with ``WorkerGone``."""
        ...


class Inbox(Protocol):
    """The driver's end of what its processes tell it while they work."""

    @property
    def log(self) -> "Log":
        """What the processes write to. Can be sent to other processes."""
        ...

    def fetch(self, taken: Mapping[str, int]) -> "list[Message]":
        """What is new. Call ``done`` for each message that is taken in.

        Args:
            taken: entries of each attempt's history that the driver has; workers keep the others.
        """
        ...

    def want_checkpoint(self) -> None:
        """From the next ``fetch`` on, workers learn that the driver waits for a checkpoint."""
        ...

    def close(self, taken: Mapping[str, int]) -> "list[Message]":
        """What is new; from now on workers learn that their driver has gone."""
        ...

    def done(self) -> None:
        """One message more need not be kept."""
        ...


class Executor(Protocol):
    """Runs functions and actors. Can be sent to other processes with what it has started."""

    def inbox(self) -> Inbox:
        """A new inbox."""
        ...

    def nodes(self, labels: Mapping[str, str] | None = None) -> list[Resources]:
        """What each node of the cluster has, whether it is in use or not. A process is on one node.

        Args:
            labels: a label selector, see :func:`..labels.has_labels`; of other nodes nothing is told.
        """
        ...

    def put(self, value: T) -> Reference[T]:
        """Store a value once, for any number of calls."""
        ...

    def start(
        self,
        kind: Callable[..., T],
        *arguments: object,
        resources: Resources,
        restarts: int = 0,
        retries: int = 0,
    ) -> Actor[T]:
        """Start a process that makes an object of class ``kind`` and waits for calls.

        Args:
            arguments: of the class.
            resources: that the process needs.
            restarts: how often a process that ended is started again; -1 for any number.
            retries: how often a call is given to such a new process; -1 for any number.
        """
        ...

    def submit(
        self, function: Callable[..., T], *arguments: object, resources: Resources, retries: int = 0
    ) -> Reference[T]:
        """Run a function in a process of its own, without waiting.

        Args:
            retries: how often it is run again when its process ends; -1 for any number.
        """
        ...

    def together(
        self,
        function: Callable[..., T],
        *arguments: object,
        asked: RayConfig,
        state: StorageFolder,
        seconds: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> T:
        """Run a function in the training workers that ``asked`` asks for, and wait for what the first one returns.

        Args:
            function: called with ``arguments`` and the worker's device, in processes that form a group of
                ``torch.distributed``.
            state: a folder for the time being.
            seconds: bound for all of it; None for as long as it takes.
            meanwhile: called now and then while it runs, and once when it has ended.

        Raises:
            SggError: what the function raised, or what kept it from its end.
        """
        ...

    def wait(
        self, references: Sequence[Reference[T]], count: int = 1, seconds: float | None = None
    ) -> list[Reference[T]]:
        """Wait until ``count`` of these are done, for ``seconds`` at most; returns those that are done, at most
        ``count``.

        Args:
            references: each once.
            seconds: None for as long as it takes, 0 to look without waiting.
        """
        ...

    def cancel(self, reference: Reference[object]) -> None:
        """End the process of a submitted function, or keep it from starting."""
        ...
