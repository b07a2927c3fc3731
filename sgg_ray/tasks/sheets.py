"""Read the rows of an Excel workbook, with openpyxl."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sgg_ray.errors import DataError
from sgg_ray.tasks.csv_dialect import numbered

ABOVE = 20  # rows among which names of columns are looked for
MOST_GAPS = 10_000  # empty cells that are looked at once more


@dataclass
class Sheet:
    """A sheet, the row with the names of its columns, and which of the cells that matter are empty."""

    title: str
    header: int  # number of the row, from 1
    names: list[str]
    gaps: list[tuple[int, int]] = field(default_factory=list)  # row and column, from 1


def sheet_rows(
    path: Path, where: str, notes: list[str] | None = None, wanted: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """The rows of a sheet by the names of its columns; None for empty cells.

    It is the first sheet that has all wanted columns among its first rows, or else the first with a table. Whole
    numbers come back whole, dates as ISO 8601 text, formulas as the values that Excel stored.

    Args:
        path: .xlsx.
        where: its place in the YAML, or the option that named it.
        notes: lines about other sheets, rows above the names and merged cells are added to it.
        wanted: names of columns that must be there once at most, without formulas that have no value; none = all.

    Raises:
        DataError: openpyxl is missing, the workbook is damaged, or has no names of columns.
    """
    notes = notes if notes is not None else []
    book = _opened(path, where, read_only=True, data_only=True)
    try:
        sheet = _find(book, wanted)
        if sheet is None:
            raise DataError(f"{where}: {path} has no rows; give a workbook with rows")
        _check_names(sheet.names, wanted, path, where)
        named = [name for name in sheet.names if name]
        sheet.names = numbered(sheet.names)
        if len(set(named)) < len(named):
            notes.append(
                "columns of the same name get a number: " + ", ".join(sorted({*sheet.names} - {*named}))
            )
        others = [other.title for other in book.worksheets if other.title != sheet.title]
        if others:
            notes.append(f"only sheet '{sheet.title}' is read, not {', '.join(others)}")
        if sheet.header > 1 and _filled(book[sheet.title], sheet.header - 1):
            notes.append(f"rows above row {sheet.header} with the names of the columns are left out")
        yield from _rows(book[sheet.title], sheet, wanted)
    finally:
        book.close()
    if sheet.gaps:
        _look_at_gaps(path, where, sheet, notes, strict=bool(wanted))


def _opened(path: Path, where: str, **options: bool) -> Any:
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f'{where}: {path} needs openpyxl; install it (pip install "sgg-ray[excel]"), or save the sheet as CSV'
        ) from None
    try:
        return openpyxl.load_workbook(path, **options)
    except Exception as error:  # whatever zip, XML and openpyxl raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{where}: {path} is no readable Excel workbook ({reason})") from None


def _find(book: Any, wanted: Sequence[str]) -> Sheet | None:
    """Where the wanted columns are, or else where a table begins: two rows of two cells or more, if there is such."""
    best: tuple[int, Sheet] | None = None  # how much of a table it is
    for sheet in book.worksheets:
        filled = [
            (number, row)
            for number, row in enumerate(islice(sheet.iter_rows(values_only=True), ABOVE), start=1)
            if any(cell is not None for cell in row)
        ]
        for number, row in filled:
            if wanted and set(wanted) <= set(_names(row)):
                return Sheet(sheet.title, number, _names(row))
        wide = [place for place, (_, row) in enumerate(filled) if sum(cell is not None for cell in row) > 1]
        size = min(len(filled), 2) + min(len(wide), 2)
        if filled and (best is None or best[0] < size):
            number, row = filled[wide[0] if wide else 0]
            best = size, Sheet(sheet.title, number, _names(row))
    return best[1] if best else None


def _names(row: Sequence[Any]) -> list[str]:
    return [
        f"Unnamed: {place}" if cell is None else str(_value(cell)).strip() for place, cell in enumerate(row)
    ]


def _check_names(names: Sequence[str], wanted: Sequence[str], path: Path, where: str) -> None:
    twice = next((name for name in wanted or names if name and names.count(name) > 1), None)
    if twice:
        raise DataError(
            f"{where}: {path} has {names.count(twice)} columns of the name '{twice}'; rename them"
        )


def _filled(sheet: Any, rows: int) -> bool:
    return any(cell is not None for row in sheet.iter_rows(max_row=rows, values_only=True) for cell in row)


def _rows(cells: Any, sheet: Sheet, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    places = [place for place, name in enumerate(sheet.names) if not wanted or name in wanted]
    rows = cells.iter_rows(min_row=sheet.header + 1, values_only=True)
    for number, row in enumerate(rows, start=sheet.header + 1):
        if all(cell is None for cell in row):
            continue
        if len(sheet.gaps) < MOST_GAPS:
            sheet.gaps += [(number, place + 1) for place in places if place >= len(row) or row[place] is None]
        yield {name: _value(cell) for name, cell in zip(sheet.names, row)}


def _look_at_gaps(path: Path, where: str, sheet: Sheet, notes: list[str], strict: bool) -> None:
    """See why cells are empty: formulas that were never computed, or cells that were merged.

    Raises:
        DataError: there are such formulas, and the columns are wanted (``strict``).
    """
    from openpyxl.cell import MergedCell
    from openpyxl.utils import get_column_letter

    cells = _opened(path, where)[sheet.title]
    found: dict[bool, list[str]] = {True: [], False: []}  # whether a formula
    for row, column in sheet.gaps:
        cell = cells.cell(row, column)
        if isinstance(cell, MergedCell) or cell.data_type == "f":
            found[not isinstance(cell, MergedCell)].append(f"{get_column_letter(column)}{row}")
    if formulas := found[True]:
        line = f"formulas without a stored value in sheet '{sheet.title}': {_first(formulas)}"
        if strict:
            raise DataError(
                f"{where}: {path} has {line}; open the workbook in Excel or LibreOffice and save it"
            )
        notes.append(f"{line}, read as empty")
    if merged := found[False]:
        notes.append(
            f"merged cells have a value in the first cell only, the others are empty: {_first(merged)}"
        )


def _first(places: Sequence[str]) -> str:
    more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
    return f"{places[0]}{more}"


def _value(cell: Any) -> Any:
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return str(cell)
    return cell
