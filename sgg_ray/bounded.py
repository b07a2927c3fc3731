"""Read files whole, but only so far as they are of a sane size: /dev/zero and a packed terabyte are files as well.

Names have bounds, too. ``os.path.isfile()`` and its like say that there is no file of a name that the system refuses;
those of ``pathlib`` raise.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any

MIB = 1 << 20
JSON_MIB = 64  # of what a run or a model writes


def refused_name(path: str | Path) -> str | None:
    """Why the system has no file of such a name, in words; None if there may be one."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def read_bounded(path: str | Path, mib: float) -> bytes:
    """The content of a file of at most ``mib`` MiB. No more than that is ever in memory.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    most = int(mib * MIB)
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than the {mib:g} MiB that such a file may have", str(path))
    return content


def read_json(path: str | Path, mib: float = JSON_MIB) -> Any:
    """The value of a JSON file of at most ``mib`` MiB.

    Raises:
        OSError: it cannot be read, or is larger.
        ValueError: it is no JSON in UTF-8, or nested so deeply that it cannot be read.
    """
    return parse_json(read_bounded(path, mib))


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON in UTF-8, or nested so deeply that it cannot be read.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
