"""Read the objects of a JSON file one by one: one on each line, or all in one array or table."""

import json
from collections.abc import Iterator
from typing import Any

from sgg_ray.errors import DataError
from sgg_ray.tasks.encoding import TextFile

SHOWN = 60  # characters of a broken line
ADVICE = "write one object on each line, or one array of objects"


def json_rows(file: TextFile, notes: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a file. Empty lines are passed over; an array or a table is held in memory as a whole.

    Args:
        notes: a line about a table that is one object is added to it.

    Raises:
        DataError: a line is no JSON, or something is no object; with how many rows could be read before.
    """
    with file.open() as lines:
        filled = (line for line in lines if line.strip())
        first, second = next(filled, "").lstrip(), next(filled, None)
    rows = None
    if first.startswith("["):
        rows = _array(file, first)
    elif ".json" in file.path.suffixes[-2:] and (second is None or not _is_json(first)):
        rows = _table(file, notes if notes is not None else [])
    yield from _lines(file) if rows is None else rows


def _lines(file: TextFile) -> Iterator[dict[str, Any]]:
    """An object a line."""
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
                advice = "" if count else f"; {ADVICE}"
                raise DataError(
                    f"{file.where}: {file.path}, line {number} is not valid JSON ({reason}): {_shown(line)}; "
                    f"{count:,} row{'' if count == 1 else 's'} before it could be read{advice}"
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


def _table(file: TextFile, notes: list[str]) -> list[dict[str, Any]] | None:
    """The rows of a file that is one object, however it is written; None if it is none."""
    try:
        with file.open() as text:
            found = json.load(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    rows, how = _rows_of(found)
    if how:
        notes.append(f"one object, not one a row: {how}")
    return rows


def _rows_of(found: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Rows of a table in one object, as pandas and others write it, and how they are made; the object as a row else."""
    names, values = list(found), list(found.values())
    if {"columns", "data"} <= set(names):
        rows = [dict(zip(map(str, found["columns"]), row)) for row in found["data"]]
        return rows, "rows are those of 'data'"
    tables = [name for name in names if _is_table(found[name])]
    if len(tables) == 1:
        return found[tables[0]], f"rows are those of '{tables[0]}'"
    if values and all(isinstance(value, list) for value in values) and len(set(map(len, values))) == 1:
        return [dict(zip(names, row)) for row in zip(*values)], "each entry is a column"
    if values and all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        if all(map(str.isdecimal, values[0])):
            keys = list(values[0])
            rows = [{name: column[key] for name, column in found.items()} for key in keys]
            return rows, "each entry is a column"
        if all(map(str.isdecimal, names)):
            return values, "each entry is a row"
    return [found], ""


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _shown(text: str) -> str:
    return text[:SHOWN] + ("..." if len(text) > SHOWN else "")
