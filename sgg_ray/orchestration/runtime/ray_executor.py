"""The executor of the product: processes on a Ray cluster."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, TypeVar

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import RayConfig
from sgg_ray.errors import SggError, in_words, machine_error
from sgg_ray.orchestration.runtime.event_log import LogInbox
from sgg_ray.orchestration.runtime.executor import (
    Actor,
    Inbox,
    Reference,
    Resources,
    WorkerDied,
    WorkerGone,
    WorkFailed,
)
from sgg_ray.orchestration.runtime.labels import has_labels
from sgg_ray.orchestration.runtime.ray_failures import last_line, out_of_memory

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class RayReference(Generic[T]):
    """A reference to Ray's object store. Two are equal only if they are the same object, as wait() returns them."""

    object_ref: ray.ObjectRef

    def get(self) -> T:
        """Wait for the value, with errors of the work as what they were there."""
        try:
            return ray.get(self.object_ref)
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, SggError):
                raise cause from None
            kind = WorkerDied
            if isinstance(error, RayTaskError):
                kind = WorkFailed
            elif isinstance(error, ActorDiedError):
                kind = WorkerGone
            raise kind(_reason(error)) from error


@dataclass(frozen=True, eq=False)
class RayActor(Generic[T]):
    """A handle of an actor: it can be sent to other processes, the actor stays where it is."""

    handle: Any  # Ray makes the methods of its handles as it runs

    def call(self, method: Callable[Concatenate[T, ...], Any], *arguments: object) -> RayReference[Any]:
        """Ask for a method, without waiting."""
        return RayReference(getattr(self.handle, method.__name__).remote(*map(_argument, arguments)))

    def kill(self) -> None:
        """End the process."""
        ray.kill(self.handle)


@dataclass(frozen=True)
class RayExecutor:
    """Runs functions and actors on the Ray that this process is connected to."""

    def inbox(self) -> Inbox:
        """An event log on the driver's node."""
        return LogInbox()

    def nodes(self, labels: Mapping[str, str] | None = None) -> list[Resources]:
        """What each node that is alive, and has the labels, has."""
        found = [
            node["Resources"]
            for node in ray.nodes()
            if node["Alive"] and has_labels(node.get("Labels", {}), labels or {})
        ]
        return [Resources(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in found]

    def put(self, value: T) -> Reference[T]:
        """Store a value in the object store."""
        return RayReference(ray.put(value))

    def start(
        self,
        kind: Callable[..., T],
        *arguments: object,
        resources: Resources,
        restarts: int = 0,
        retries: int = 0,
    ) -> Actor[T]:
        """Start an actor."""
        remote = ray.remote(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=restarts,
            max_task_retries=retries,
        )(kind)
        return RayActor(remote.remote(*map(_argument, arguments)))

    def submit(
        self, function: Callable[..., T], *arguments: object, resources: Resources, retries: int = 0
    ) -> Reference[T]:
        """Run a function as a task."""
        remote = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=retries)(function)
        return RayReference(remote.remote(*map(_argument, arguments)))

    def together(
        self,
        function: Callable[..., T],
        *arguments: object,
        asked: RayConfig,
        state: StorageFolder,
        seconds: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> T:
        """Run a function in the workers of Ray Train."""
        from sgg_ray.orchestration.runtime.worker_group import run_in_group

        return run_in_group(function, arguments, asked, state, seconds, meanwhile)

    def wait(
        self, references: Sequence[Reference[T]], count: int = 1, seconds: float | None = None
    ) -> list[Reference[T]]:
        """Wait until ``count`` of these are done, for ``seconds`` at most; nothing is copied to this node yet."""
        by_object = {_argument(reference): reference for reference in references}
        done, _ = ray.wait(list(by_object), num_returns=count, timeout=seconds, fetch_local=False)
        return [by_object[one] for one in done]

    def cancel(self, reference: Reference[object]) -> None:
        """End the process that runs the task; does nothing if it has ended, or Ray with it."""
        with suppress(RayError):
            ray.cancel(_argument(reference), force=True)


def _argument(value: Any) -> Any:
    return value.object_ref if isinstance(value, RayReference) else value


def _reason(error: RayError) -> str:
    """What ended the work, in one line."""
    if isinstance(error, OutOfMemoryError):
        return out_of_memory(str(error))
    if said := machine_error(error):
        return in_words(said)
    return last_line(error)
