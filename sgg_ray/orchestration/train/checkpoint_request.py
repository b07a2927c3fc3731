"""Whether the driver wants a checkpoint, as a training worker asks it."""

import time

from sgg_ray.orchestration.runtime.event_log import Log

PAUSE_SECONDS = 1.0  # between two questions


class CheckpointRequest:
    """Called after every step; True once, when the driver is about to stop and waits for a checkpoint.

    Args:
        log: who is asked.
    """

    def __init__(self, log: Log):
        self.log = log
        self._asked_at = -PAUSE_SECONDS
        self._answered = False

    def __call__(self) -> bool:
        """Ask, unless that was done a moment ago."""
        now = time.monotonic()
        if self._answered or now - self._asked_at < PAUSE_SECONDS:
            return False
        self._asked_at = now
        self._answered = self.log.wants_checkpoint()
        return self._answered
