"""A mailbox between workers and the driver, so that one process writes files, MLflow and the terminal.

Nothing depends on it: what it loses is told again by workers that live, or comes with their checkpoints and results.
So nobody waits for it longer than a moment, and a call that it does not answer is no error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sgg_ray.errors import ClusterError

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from sgg_ray.orchestration.messages import Message

ANSWER_SECONDS = 20.0  # bound for one answer of a log that may be starting again
MOMENT_SECONDS = 0.1  # bound for an answer that is asked for again and again
LAST_SECONDS = 3.0  # bound for the last one: whoever ends a driver, or Ray that has died, does not wait long
GONE = "the driver of this training is gone"


class EventLog:
    """Keeps messages until the driver fetches them.

    It is also how workers learn that their driver wants a checkpoint, or has gone: it is closed then, or dead for good.
    """

    def __init__(self):
        self.messages: list[Message] = []
        self.forgotten: int | None = None  # messages; None until the driver has said how many it has
        self.taken: Mapping[str, int] = {}  # entries of each attempt's history that the driver has
        self.checkpoint_wanted = False
        self.closed = False

    def tell(self, message: Message, attempt: str = "") -> int:
        """Take a message; returns how many entries of ``attempt``'s history the driver has."""
        if not self.closed:
            self.messages.append(message)
        return self.taken.get(attempt, 0)

    def is_closed(self) -> bool:
        """Whether nobody will fetch what is told now."""
        return self.closed

    def wants_checkpoint(self) -> bool:
        """Whether the driver is about to stop, and waits for a checkpoint."""
        return self.checkpoint_wanted

    def fetch(
        self, received: int, taken: Mapping[str, int], checkpoint_wanted: bool = False
    ) -> list[Message]:
        """The messages from number ``received`` on.

        Those before are forgotten only now: a driver that is interrupted before it has got them can ask again. What
        the driver says is said with each call: this process may have been started again.
        """
        self.taken, self.checkpoint_wanted = taken, checkpoint_wanted
        if self.forgotten is None:
            # The first call, also after a restart, which lost what was here: all there is now is new.
            self.forgotten = received
        del self.messages[: received - self.forgotten]
        self.forgotten = max(self.forgotten, received)
        return self.messages

    def close(self, received: int, taken: Mapping[str, int]) -> list[Message]:
        """The last messages; nothing is taken from now on."""
        self.closed = True
        return self.fetch(received, taken)


# No CPU: it has to start where trainings hold all of them. It restarts without end, as what it loses is told again.
EventLogActor = ray.remote(num_cpus=0, max_restarts=-1)(EventLog)


class Receipt(Protocol):
    """What comes back of a part of a history that was told."""

    def taken(self) -> int:
        """Entries of the history that the driver had then; 0 if that is not known. Does not wait."""
        ...


class Log(Protocol):
    """Where workers tell things, in any process."""

    def tell(self, message: Message, attempt: str = "") -> Receipt:
        """Tell, without waiting."""
        ...

    def wants_checkpoint(self) -> bool:
        """Whether the driver waits for a checkpoint. False if that is not known within a moment."""
        ...

    def require_driver(self) -> None:
        """Raise ClusterError if nobody will fetch what is told."""
        ...


@dataclass(frozen=True)
class LogReceipt:
    """The answer of an :class:`EventLog`, once it is there."""

    answer: ray.ObjectRef

    def taken(self) -> int:
        """Entries of the history that the driver had then; 0 while there is no answer, or none comes."""
        try:
            return ray.get(self.answer, timeout=0)
        except RayError:
            return 0  # then the worker tells more than it had to, and the journal drops what it has


@dataclass(frozen=True)
class EventLogHandle:
    """A worker's end of an event log. Can be sent to other processes."""

    actor: ActorProxy[EventLog]

    def tell(self, message: Message, attempt: str = "") -> LogReceipt:
        """Tell, without waiting: what is lost is told again, or nobody misses it."""
        return LogReceipt(self.actor.tell.remote(message, attempt))

    def wants_checkpoint(self) -> bool:
        """Whether the driver waits for a checkpoint. False if that is not known within a moment."""
        try:
            return ray.get(self.actor.wants_checkpoint.remote(), timeout=MOMENT_SECONDS)
        except RayError:
            return False

    def require_driver(self) -> None:
        """Return if the driver is there, or may be: a log that does not answer in time is no reason to stop.

        Raises:
            ClusterError: the driver has gone.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                if ray.get(self.actor.is_closed.remote(), timeout=left):
                    raise ClusterError(GONE)
                return
            except ActorDiedError as error:  # it is restarted without end, unless its owner is gone
                raise ClusterError(GONE) from error
            except (ActorUnavailableError, GetTimeoutError):
                time.sleep(0.2)


class LogInbox:
    """The driver's end of an event log, started on the driver's own node: what is lost with that needs no log."""

    def __init__(self):
        node = ray.get_runtime_context().get_node_id()
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        self.log = EventLogHandle(EventLogActor.options(scheduling_strategy=place).remote())
        self.received = 0  # messages
        self.checkpoint_wanted = False

    def fetch(self, taken: Mapping[str, int]) -> list[Message]:
        """What is new; nothing while the log starts again. Call ``done`` when it is taken in.

        Args:
            taken: entries of each attempt's history that the driver has; workers keep the others.
        """
        try:
            answer = self.log.actor.fetch.remote(self.received, taken, self.checkpoint_wanted)
            return ray.get(answer, timeout=ANSWER_SECONDS)
        except RayError:
            return []

    def want_checkpoint(self) -> None:
        """From the next ``fetch`` on, workers learn that the driver waits for a checkpoint."""
        self.checkpoint_wanted = True

    def close(self, taken: Mapping[str, int]) -> list[Message]:
        """What is new; from now on workers learn that their driver has gone."""
        try:
            return ray.get(self.log.actor.close.remote(self.received, taken), timeout=LAST_SECONDS)
        except RayError:
            return []

    def done(self) -> None:
        """One message more need not be kept."""
        self.received += 1
