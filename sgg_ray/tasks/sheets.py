"""Read the rows of an Excel workbook, with openpyxl."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sgg_ray.errors import DataError


def sheet_rows(path: Path, where: str, notes: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of the first sheet that has any, by the names in its first row; None for empty cells.

    Whole numbers come back whole, dates as ISO 8601 text, formulas as the values that Excel stored.

    Args:
        path: .xlsx.
        where: its place in the YAML, or the option that named it.
        notes: a line about other sheets is added to it.

    Raises:
        DataError: openpyxl is missing, the workbook is damaged, or has no names of columns.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f'{where}: {path} needs openpyxl; install it (pip install "sgg-ray[excel]"), or save the sheet as CSV'
        ) from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # whatever zip, XML and openpyxl raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{where}: {path} is no readable Excel workbook ({reason})") from None
    try:
        yield from _rows(book, path, where, notes if notes is not None else [])
    finally:
        book.close()


def _rows(book: Any, path: Path, where: str, notes: list[str]) -> Iterator[dict[str, Any]]:
    for sheet in book.worksheets:
        rows = (row for row in sheet.iter_rows(values_only=True) if any(cell is not None for cell in row))
        header = next(rows, None)
        if header is None:
            continue
        others = [other.title for other in book.worksheets if other.title != sheet.title]
        if others:
            notes.append(f"only sheet '{sheet.title}' is read, not {', '.join(others)}")
        names = [
            f"Unnamed: {place}" if cell is None else str(_value(cell)).strip()
            for place, cell in enumerate(header)
        ]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise DataError(
                f"{where}: {path} has {names.count(twice)} columns of the name '{twice}'; rename them"
            )
        for row in rows:
            yield {name: _value(cell) for name, cell in zip(names, row)}
        return
    raise DataError(f"{where}: {path} has no rows; give a workbook with rows")


def _value(cell: Any) -> Any:
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return str(cell)
    return cell
