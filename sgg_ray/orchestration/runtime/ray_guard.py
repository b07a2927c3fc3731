"""A process beside the driver that says why it ended, if Ray's core worker ended it.

Ray 2.60 ends the process that it serves at once when its connection to the raylet or to the object store breaks: no
exception, no exit handler, nothing printed. Only another process can tell then.
"""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping

DONE = b"done"
TOGETHER = "together"


@contextlib.contextmanager
def guarded(processes: Mapping[str, int], lines: Mapping[str, str]) -> Iterator[None]:
    """Have a line printed on stderr if this process ends in the block, without an exception, after one of Ray's.

    Args:
        processes: by name, the ids of those without which Ray can do nothing.
        lines: by name, what to print when that process died first; under ``TOGETHER`` when nobody can say which.
    """
    if not processes or not hasattr(os, "pidfd_open"):  # macOS
        yield
        return
    arguments = [f"{process}={lines[name]}" for name, process in processes.items()]
    guard = subprocess.Popen(
        # Without environment and site-packages it starts at once and depends on nothing that is installed.
        [sys.executable, "-I", "-S", __file__, lines[TOGETHER], *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and a hangup are for the driver
    )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            guard.communicate(DONE)


def watch(together: str, lines: Mapping[int, str]) -> str | None:
    """Wait until the driver has ended, which closes stdin; return what to print.

    Args:
        together: line for a driver and a process of Ray that ended so close to each other that no order is seen.
        lines: line for each process, by id.
    """
    events = select.poll()
    by_descriptor = {}
    for process, line in lines.items():
        with contextlib.suppress(ProcessLookupError):
            by_descriptor[os.pidfd_open(process)] = line
    for descriptor in (0, *by_descriptor):
        events.register(descriptor, select.POLLIN | select.POLLHUP)
    said = None
    while True:
        ready = {descriptor for descriptor, _ in events.poll()}
        died = [line for descriptor, line in by_descriptor.items() if descriptor in ready]
        for descriptor in ready & by_descriptor.keys():
            events.unregister(descriptor)
        if 0 in ready:
            # A driver that comes to its end says so; one that was ended only closes the pipe.
            return None if os.read(0, len(DONE)) == DONE else said or (together if died else None)
        said = said or died[0]


def main() -> None:
    """Run as a script: the line for ``TOGETHER``, then ``ID=LINE`` for each process."""
    lines = {int(process): line for process, _, line in (one.partition("=") for one in sys.argv[2:])}
    if (said := watch(sys.argv[1], lines)) is not None:
        print(f"error: {said}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
