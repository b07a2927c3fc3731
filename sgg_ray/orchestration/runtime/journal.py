"""The driver's side of the trainings' histories: ``events.jsonl`` holds exactly them, however often they are told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sgg_ray.artifacts import RunFolder, as_json
from sgg_ray.orchestration.messages import Entry, Recorded, from_line, to_line

Line = dict[str, Any]


@dataclass(frozen=True)
class Taken:
    """What a message has brought.

    Args:
        entries: those that this attempt had not told before, for records that drop what they have.
        fresh: those of them that were not in ``events.jsonl`` either, for people.
    """

    entries: tuple[Entry, ...] = ()
    fresh: tuple[Entry, ...] = ()


class Journal:
    """Writes ``events.jsonl``. After each message the lines of a run are the beginning of its history.

    An attempt's entries are taken in order and without gaps: one that was lost on the way makes those after it wait
    until they are told again. Lines that another attempt left, from steps after the checkpoint that this one goes on
    from, give way to what this one tells.

    Args:
        folder: of the run, begun or resumed.
        marks: what the lines of a run have in common, for instance ``{"run": "guided"}``.
    """

    def __init__(
        self, folder: RunFolder, marks: Callable[[str], Mapping[str, Any]] = lambda run: {"run": run}
    ):
        self.folder, self.marks = folder, marks
        self.attempts: dict[str, str] = {}  # by run, those that are listened to
        self.past: set[str] = set()  # attempts that others have replaced
        self.taken: dict[str, int] = {}  # entries of each attempt
        self._lines: dict[str, list[Line]] = {}  # of each run, as they are in the file

    def take(self, part: Recorded) -> Taken:
        """Write what is new."""
        if part.attempt in self.past:
            # A worker that was taken for dead may still tell. Its entries would replace those of its successor.
            return Taken()
        self._follow(part.run, part.attempt)
        done = self.taken[part.attempt]
        if part.first > done:
            return Taken()
        entries = part.entries[done - part.first :]
        lines = [as_json({**self.marks(part.run), **to_line(entry)}) for entry in entries]
        written = self._lines_of(part.run)
        same = 0
        while same < len(lines) and done + same < len(written) and written[done + same] == lines[same]:
            same += 1
        if same < len(lines):
            # Cut first: after a kill in between, the lines are still the beginning of a history.
            self._cut(part.run, done + same)
            self.folder.append_events(lines[same:])
            written += lines[same:]
        self.taken[part.attempt] = done + len(lines)
        return Taken(entries, entries[same:])

    def complete(self, history: Recorded) -> Taken:
        """Take the history of a training that has ended; the run has no other lines then."""
        taken = self.take(history)
        self._cut(history.run, len(history.entries))
        return taken

    def recorded(self, run: str) -> list[Entry]:
        """What ``events.jsonl`` holds of a run."""
        marks = self.marks(run)
        lines = ({key: line[key] for key in line if key not in marks} for line in self._lines_of(run))
        return [from_line(line) for line in lines]

    def _follow(self, run: str, attempt: str) -> None:
        before = self.attempts.get(run)
        if before != attempt:
            if before is not None:
                self.past.add(before)
                self.taken.pop(before, None)
            self.attempts[run] = attempt
            self.taken[attempt] = 0

    def _lines_of(self, run: str) -> list[Line]:
        if run not in self._lines:
            marks = self.marks(run)
            self._lines[run] = [line for line in self.folder.read_events() if _has(line, marks)]
        return self._lines[run]

    def _cut(self, run: str, length: int) -> None:
        """Keep the first ``length`` lines of the run, and all of others."""
        written = self._lines_of(run)
        if len(written) <= length:
            return
        marks, kept, seen = self.marks(run), [], 0
        for line in self.folder.read_events():
            mine = _has(line, marks)
            if not mine or seen < length:
                kept.append(line)
            seen += mine
        self.folder.replace_events(kept)
        del written[length:]


def _has(line: Line, marks: Mapping[str, Any]) -> bool:
    return all(line.get(key) == value for key, value in marks.items())
