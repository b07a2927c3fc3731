"""What Ray raises, as errors of this package: one line each, with what to do."""

import re
import textwrap
from collections.abc import Iterator

from ray.exceptions import OutOfMemoryError

from sgg_ray.errors import ClusterError, SggError, in_words, machine_error

# Of Ray 2.60's memory monitor: "Memory on the node (...) was 14.5GB / 15.0GB (0.96)", and a table of processes.
_USED = re.compile(r"was ([\d.]+ ?[GM]B / [\d.]+ ?[GM]B)")
_PROCESS = re.compile(r"^\d+\s+([\d.]+)\s+(\S.*)$", re.MULTILINE)
SHOWN = 3  # processes
LONGEST_REASON = 400  # characters
LOWER = (
    "lower train.batch_size or train.max_length, or run fewer processes (ray.num_workers, ray.task_workers)"
)


def from_ray(error: BaseException, place: str | None = None, prefix: str = "") -> SggError:
    """The error of this package that ``error`` wraps, or else one that says in a line what happened.

    Args:
        error: of Ray, perhaps with the errors of several workers inside.
        place: where an error of the system happened, unless it says so itself.
        prefix: what failed, before an error that is none of this package's; Ray itself unless given.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SggError):
            return seen
        if isinstance(seen, OutOfMemoryError):
            return ClusterError(out_of_memory(str(seen)))
        for inner in _of_workers(seen):
            found = from_ray(inner, place, prefix)
            if not isinstance(found, ClusterError):
                return found
        seen = getattr(seen, "cause", None) or seen.__cause__
    if said := machine_error(error):
        said.filename = said.filename or place
        return ClusterError(prefix + in_words(said))
    last = last_line(error)
    return ClusterError(
        prefix + last if prefix else f"Ray failed: {last}; give the same command again to go on"
    )


def last_line(error: BaseException) -> str:
    """The last line of what Ray says. Ray 2.60 goes on for a paragraph about what a process may have died of."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return textwrap.shorten(lines[-1].partition(" Worker exit type")[0], LONGEST_REASON, placeholder=" …")


def _of_workers(error: BaseException) -> Iterator[BaseException]:
    """The errors inside one of Ray Train's."""
    failures = getattr(error, "worker_failures", None)
    found = list(failures.values()) if isinstance(failures, dict) else [failures]
    for inner in (*found, getattr(error, "training_failed_error", None)):
        if isinstance(inner, BaseException) and inner is not error:
            yield inner


def out_of_memory(text: str) -> str:
    """One line of what Ray's memory monitor said: how full the node was, what filled it, what to lower."""
    used = _USED.search(text)
    full = f" ({used[1]} in use)" if used else ""
    largest = [f"{found[2][:60]} {found[1]} GB" for found in _PROCESS.finditer(text)][:SHOWN]
    eaten = f"; most had {', '.join(largest)}" if largest else ""
    return f"a node ran out of memory{full}, and Ray ended a worker{eaten}; {LOWER}, and give the same command again"
