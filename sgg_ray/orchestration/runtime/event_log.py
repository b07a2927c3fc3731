"""A mailbox between training workers and the driver, so that one process writes files, MLflow and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sgg_ray.errors import ClusterError

if TYPE_CHECKING:
    from sgg_ray.training import Event

Message = tuple[str, str, Any]


@ray.remote(num_cpus=0, max_restarts=-1)
class EventLog:
    """Keeps messages until the driver fetches them. Messages are (run, kind, payload).

    It is also how workers learn that their driver has gone: once it is closed, every call raises a ClusterError.
    """

    def __init__(self):
        self.messages: list[Message] = []
        self.forgotten: int | None = None  # messages; None until the driver has said how many it has
        self.closed = False

    def steps(self, run: str, events: Sequence[Event]) -> None:
        """Training steps that ``run`` has finished."""
        self.tell(run, "steps", list(events))

    def evaluated(self, run: str, done: int, total: int) -> None:
        """How many test rows ``run`` has predicted."""
        self.tell(run, "evaluated", (done, total))

    def tell(self, run: str, kind: str, payload: object) -> None:
        """Anything else: a ``report`` of refreshed scores, a ``warning``."""
        self.confirm()
        self.messages.append((run, kind, payload))

    def confirm(self) -> None:
        """Return once all that the caller has told before is here; raise if nobody will fetch it."""
        if self.closed:
            raise ClusterError("the driver of this training has gone")

    def fetch(self, received: int) -> list[Message]:
        """The messages from number ``received`` on.

        Those before are forgotten only now: a driver that is interrupted before it has got them can ask again.
        """
        if self.forgotten is None:
            # The first call, also after a restart, which lost what was here: all there is now is new.
            self.forgotten = received
        del self.messages[: received - self.forgotten]
        self.forgotten = max(self.forgotten, received)
        return self.messages

    def close(self, received: int) -> list[Message]:
        """The last messages; nothing is taken from now on."""
        self.closed = True
        return self.fetch(received)


def open_event_log() -> Any:
    """Start an event log on the driver's own node: one that is lost takes nothing with it that the driver needs."""
    node = ray.get_runtime_context().get_node_id()
    return EventLog.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
