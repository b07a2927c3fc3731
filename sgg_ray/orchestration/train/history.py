"""The history of a training, on the worker's side: kept whole, told as it grows, and part of every checkpoint.

Why it is kept whole: the driver, the event log and this process may each be killed at any moment, and a step that has
run must be in ``events.jsonl`` exactly once. A checkpoint holds the history up to its step, so that what goes on from
there has neither a step too few nor one too many, and needs nobody's memory but its own. An entry has some 300 bytes:
100 000 steps are 30 MB, little beside the model and its optimiser.
"""

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sgg_ray.errors import CheckpointError
from sgg_ray.orchestration.messages import Entry, Recorded, StepDone, from_line, to_line
from sgg_ray.orchestration.runtime.event_log import Log, Receipt
from sgg_ray.training import Event

HISTORY = "history.json"
PAUSE_SECONDS = 0.2  # between two messages
MOST_ENTRIES = 5000  # of a message


class History:
    """What a training has to tell. Entries that the driver does not have are told again with each message.

    Args:
        run: what the training is called, such as ``guided``.
        log: where it is told.
        entries: those up to the checkpoint that the training goes on from.
    """

    def __init__(self, run: str, log: Log, entries: Sequence[Entry] = ()):
        self.run, self.log = run, log
        self.attempt = uuid.uuid4().hex
        self.entries = list(entries)
        self._taken = 0  # by the driver, as far as is known here
        self._receipt: Receipt | None = None
        self._told_at = -PAUSE_SECONDS

    def add(self, *entries: Entry) -> None:
        """Append, and tell the driver unless it was told a moment ago."""
        self.entries.extend(entries)
        if time.monotonic() - self._told_at >= PAUSE_SECONDS:
            self.tell()

    def steps(self, events: Sequence[Event]) -> None:
        """Append training steps."""
        self.add(*map(StepDone, events))

    def tell(self) -> None:
        """Tell the driver what it does not have yet. Does not wait."""
        if self._receipt is not None:
            self._taken = max(self._taken, self._receipt.taken())
        new = tuple(self.entries[self._taken : self._taken + MOST_ENTRIES])
        if new:
            self._receipt = self.log.tell(Recorded(self.run, self.attempt, self._taken, new), self.attempt)
            self._told_at = time.monotonic()

    def whole(self) -> Recorded:
        """All of it as one message."""
        return Recorded(self.run, self.attempt, 0, tuple(self.entries))


def written_history(history: Recorded) -> dict[str, Any]:
    """A whole history as plain values, for JSON."""
    return {"attempt": history.attempt, "entries": [to_line(entry) for entry in history.entries]}


def read_history(run: str, content: Mapping[str, Any]) -> Recorded:
    """What :func:`written_history` made ``content`` of.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is of none.
    """
    return Recorded(run, str(content["attempt"]), 0, tuple(map(from_line, content["entries"])))


def save_histories(folder: Path, histories: Iterable[History]) -> None:
    """Write histories into the folder of a checkpoint: that of the run, and those of an average's further members."""
    content = {history.run: written_history(history.whole()) for history in histories}
    (folder / HISTORY).write_text(json.dumps(content), encoding="utf-8")


def saved_histories(folder: Path) -> dict[str, Recorded]:
    """What :func:`save_histories` wrote into a checkpoint, by run.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = folder / HISTORY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {run: read_history(run, one) for run, one in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"name: {path} cannot be read ({error}); delete the run folder or give the run another --name"
        ) from error
