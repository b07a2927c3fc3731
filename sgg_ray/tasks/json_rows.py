"""Read the objects of a JSON file one by one: one on each line, or all in one array."""

import json
from collections.abc import Iterator
from typing import Any

from sgg_ray.errors import DataError
from sgg_ray.tasks.encoding import TextFile

SHOWN = 60  # characters of a broken line


def json_rows(file: TextFile) -> Iterator[dict[str, Any]]:
    """The objects of a file. Empty lines are passed over; an array is held in memory as a whole.

    Raises:
        DataError: a line is no JSON, or something is no object; with how many rows could be read before.
    """
    with file.open() as lines:
        first = next((line for line in lines if line.strip()), "").lstrip()
    if first.startswith("[") and (rows := _array(file, first)) is not None:
        yield from rows
        return
    decode = json.JSONDecoder().decode
    count = 0
    with file.open() as lines:
        for number, line in enumerate(lines, start=1):
            line = line.strip()
            if not line:
                continue
            try:
                row = decode(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", "nested too deeply")
                raise DataError(
                    f"{file.where}: {file.path}, line {number} is not valid JSON ({reason}): {_shown(line)}; "
                    f"{count:,} row{'' if count == 1 else 's'} before it could be read"
                ) from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{file.where}: {file.path}, line {number} must be an object {{...}}, found {_shown(line)}"
                )
            count += 1
            yield row


def _array(file: TextFile, first: str) -> list[dict[str, Any]] | None:
    """The objects of a file that is one array; None if its first line is complete, so that each line stands alone."""
    try:
        with file.open() as text:
            rows = json.load(text)
    except ValueError as error:
        if _is_json(first):
            return None
        line = getattr(error, "lineno", 1)
        reason = getattr(error, "msg", str(error))
        raise DataError(f"{file.where}: {file.path}, line {line} is not valid JSON ({reason})") from None
    except RecursionError:
        raise DataError(f"{file.where}: {file.path}, line 1 is not valid JSON (nested too deeply)") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            shown = _shown(json.dumps(row, ensure_ascii=False))
            raise DataError(
                f"{file.where}: {file.path}, entry {number} of its array must be an object {{...}}, found {shown}"
            )
    return rows


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _shown(text: str) -> str:
    return text[:SHOWN] + ("..." if len(text) > SHOWN else "")
