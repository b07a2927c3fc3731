"""Everything that sgg_ray raises on purpose, with the exit code that the command line turns it into."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sgg_ray.secrets import redacted

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_TERMINATED = 143  # 128 + SIGTERM, as a shell says it

# What a person can mend, of all that the system may say.
MACHINE = {
    errno.ENOSPC: "free some of the disk",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.EACCES: "change the permissions",
    errno.EPERM: "change the permissions",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def machine_error(error: BaseException) -> OSError | None:
    """What the system has said and a person can mend; libraries and Ray leave no more of it than its text."""
    said = re.search(r"\[Errno (\d+)\](?: [^:\n]*: '([^'\n]+)')?|\(os error (\d+)\)", str(error))
    number = int(said[1] or said[3]) if said else 0
    if said is None or number not in MACHINE or isinstance(error, SggError):
        return None
    return OSError(number, os.strerror(number), getattr(error, "filename", None) or said[2])


def in_words(error: OSError) -> str:
    """One line for a :func:`machine_error`: what is wrong, where, what to do."""
    place = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror}{place}; {MACHINE[error.errno or 0]}, and give the same command again"


@contextmanager
def told_where(place: str | Path) -> Iterator[None]:
    """Errors of the system that leave out where they came from get ``place``."""
    try:
        yield
    except Exception as error:
        said = machine_error(error)
        if said is None or said.filename:
            raise
        raise OSError(said.errno, said.strerror, str(place)) from error


LONGEST_LINE = 2000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text for the terminal: without secrets, and without what a terminal takes for commands."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], redacted(text))


def one_line(text: str) -> str:
    """A :func:`printable` text in one line that is not endless."""
    text = " ".join(printable(text).splitlines())
    half = LONGEST_LINE // 2 - 2
    return text if len(text) <= LONGEST_LINE else f"{text[:half]} … {text[-half:]}"


class SggError(Exception):
    """Base of all deliberate errors. Each problem is one line: what is wrong, where, what to do."""

    exit_code = EXIT_FAILED

    def __init__(self, problems: str | Sequence[str]):
        lines = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(map(one_line, lines))
        super().__init__("\n".join(self.problems))

    def __reduce__(self):  # keep the list of problems when an actor sends the error to the driver
        return (type(self), (self.problems,))


class Terminated(KeyboardInterrupt):
    """SIGTERM has come. No error, and caught by nobody but the command line.

    A KeyboardInterrupt, because Ray 2.60 forgets any other exception of a signal handler while it waits.
    """


class ConfigError(SggError):
    """The YAML file or a ``--set`` override is wrong."""

    exit_code = EXIT_BAD_INPUT


class DataError(SggError):
    """A task's rows cannot be used as the configuration asks."""

    exit_code = EXIT_BAD_INPUT


class ModelError(SggError):
    """The model cannot be loaded or cannot do what is asked of it."""

    exit_code = EXIT_BAD_INPUT


class ClusterError(SggError):
    """The Ray cluster is too small, cannot be reached, or kept failing. Capacity is checked before the start."""


class CapacityError(ClusterError):
    """More workers or GPUs are asked for than the cluster has; found before anything starts."""

    exit_code = EXIT_BAD_INPUT


class TrainingError(SggError):
    """Training cannot go on, for instance after too many steps in a row without a finite gradient."""


class CheckpointError(TrainingError):
    """A stored training cannot be read, or belongs to another model; found before anything starts if possible."""

    exit_code = EXIT_BAD_INPUT
