"""Files that are whole or not there at all, and JSON that every reader accepts."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sgg_ray.bounded import parse_json
from sgg_ray.errors import told_where


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> Path:
    """Write to a temporary neighbour, then rename: readers see the old or the new file, never half a one."""
    with replaced_file(path, mode) as file:
        file.write(content)
    return path


@contextmanager
def replaced_file(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A file to write to that takes the place of ``path`` when the ``with`` block ends, and is gone if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with told_where(path), os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)  # mkstemp's own mode would hide the file from a group
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class FolderLock:
    """Keeps other processes from writing the same folder, until it is forgotten or the process ends.

    Raises BlockingIOError when another one has the folder. File systems without locks let everyone in, and so
    does Windows. No lock file is left behind.
    """

    def __init__(self, folder: Path):
        if sys.platform == "win32":
            return
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file of this folder.

    Raises:
        OSError: it cannot be written, or is a symbolic link, whose target is no file of the run.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o644), "a", encoding="utf-8") as file:
        file.write(text)


def drop_torn_line(path: Path) -> None:
    """Cut off what follows the last line end: a kill can leave half a line there."""
    if path.exists() and not path.is_symlink():
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def whole_lines(content: bytes) -> tuple[list[bytes], int]:
    """The lines that are JSON objects, and how many others there are. What follows the last line end is left out."""
    # As bytes: reading as text would turn a carriage return of a torn line into the end of a whole one.
    lines = [line for line in content[: content.rfind(b"\n") + 1].split(b"\n") if line]
    whole = [line for line in lines if _is_object(line)]
    return whole, len(lines) - len(whole)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False


def as_json(value: Any) -> Any:
    """The value in types that strict JSON has: numpy becomes plain, NaN and infinity null, the rest text."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return as_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)
