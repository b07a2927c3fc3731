"""Read a file of any size in batches, with all its columns and in constant memory."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sgg_ray.errors import DataError
from sgg_ray.tasks.arrow import arrow_batches, arrow_rows, arrow_schema
from sgg_ray.tasks.csv_rows import CsvFile, Oddities, open_csv
from sgg_ray.tasks.encoding import TextFile, text_file
from sgg_ray.tasks.files import SEPARATED, SHEET, WHOLE, check_names, readable
from sgg_ray.tasks.json_rows import json_rows
from sgg_ray.tasks.sheets import sheet_rows

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row")
SCAN = 8192  # rows looked at together while a file is checked


@dataclass(frozen=True)
class RowStream:
    """A file that was looked at from end to end, ready to be read in batches as often as wanted."""

    path: Path
    where: str
    schema: "pa.Schema"
    rows: int
    text: TextFile | CsvFile | None = None  # how it is read, if it is text
    as_text: frozenset[str] = frozenset()  # columns whose values have no common type
    wanted: tuple[str, ...] = ()  # columns by which the sheet of a workbook is found
    notes: tuple[str, ...] = ()

    def batches(self, size: int) -> Iterator["pa.Table"]:
        """All rows in their order, as tables of at most ``size`` rows with the schema of the whole file.

        Raises:
            DataError: the file is damaged, or has changed meanwhile.
        """
        with readable(self.path, self.where, "the current folder"):
            if isinstance(self.text, CsvFile):
                yield from _csv_batches(self.text, self.schema, size, Oddities())
            elif self.path.suffix.lower() in WHOLE and self.path.suffix.lower() != SHEET:
                yield from arrow_batches(self.path, self.where, size)
            else:
                for rows in _batches(_objects(self.path, self.where, self.text, self.wanted), size):
                    yield _table(rows, self.schema, self.as_text)


def open_stream(path: Path, where: str, wanted: Sequence[str] = ()) -> RowStream:
    """Read a whole file once without keeping it: its columns, how many rows, and whether every line is sound.

    Reading is quick next to what follows, and a torn line at the end is found before hours of work and not after.

    Args:
        path: any file that can be a task's. A CSV file's values are texts, those of JSON and Excel have the types
            found.
        where: what named the file, for messages.
        wanted: columns by which the sheet of a workbook is found.

    Raises:
        DataError: there is no such file, or it is not what its suffix says.
    """
    with readable(path, where, "the current folder") as suffix:
        if suffix == SHEET:
            return _scan_objects(path, where, None, tuple(wanted))
        if suffix in WHOLE:
            schema = arrow_schema(path, where)
            check_names(schema.names, schema.names, path, where)
            return RowStream(path, where, schema, arrow_rows(path, where))
        file = text_file(path, where)
        if suffix in SEPARATED:
            return _scan_csv(open_csv(file, SEPARATED[suffix]))
        return _scan_objects(path, where, file)


def _csv_batches(table: CsvFile, schema: "pa.Schema", size: int, odd: Oddities) -> Iterator["pa.Table"]:
    import pyarrow as pa

    for rows in _batches(table.rows(odd), size):
        yield pa.Table.from_arrays([pa.array(column, pa.string()) for column in zip(*rows)], schema=schema)


def _scan_csv(table: CsvFile) -> RowStream:
    import pyarrow as pa

    file = table.file
    header = [name for name in table.header if name]  # one without a name gets one
    check_names(header, header, file.path, file.where)
    odd = Oddities()
    rows = sum(1 for _ in table.rows(odd))
    schema = pa.schema([(name, pa.string()) for name in table.names])
    notes = (*file.notes, *table.dialect.notes, *odd.notes())
    return RowStream(file.path, file.where, schema, rows, table, notes=notes)


def _objects(
    path: Path,
    where: str,
    file: TextFile | CsvFile | None,
    wanted: Sequence[str],
    notes: list[str] | None = None,
) -> Iterator[dict[str, Any]]:
    return json_rows(file, notes) if isinstance(file, TextFile) else sheet_rows(path, where, notes, wanted)


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch


def _scan_objects(path: Path, where: str, file: TextFile | None, wanted: tuple[str, ...] = ()) -> RowStream:
    import pyarrow as pa

    notes: list[str] = list(file.notes) if file else []
    count, types, mixed = 0, {}, set()
    for rows in _batches(_objects(path, where, file, wanted, notes), SCAN):
        count += len(rows)
        for name in dict.fromkeys(key for row in rows for key in row):
            known = types.get(name, pa.null())
            try:
                found = pa.array([row.get(name) for row in rows]).type
                types[name] = _common_type(known, found)
            except (pa.ArrowException, OverflowError, UnicodeError):
                types[name] = pa.string()
                mixed.add(name)
    if not count:
        raise DataError(f"{where}: {path} has no rows; give a file with rows")
    schema = pa.schema([(name, pa.string() if name in mixed else kind) for name, kind in types.items()])
    if mixed:
        names = ", ".join(sorted(mixed))
        notes.append(f"values of different types, or texts that are torn, are kept as text: {names}")
    return RowStream(path, where, schema, count, file, frozenset(mixed), wanted, tuple(notes))


def _common_type(known: "pa.DataType", found: "pa.DataType") -> "pa.DataType":
    """A type for both.

    Raises:
        pa.ArrowException: there is none.
    """
    import pyarrow as pa

    schemas = [pa.schema([("column", kind)]) for kind in (known, found)]
    common = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    if "struct<>" in str(common):  # objects without keys, which Parquet cannot hold
        raise pa.ArrowTypeError("an object without keys")
    return common


def _table(rows: list[dict[str, Any]], schema: "pa.Schema", as_text: frozenset[str]) -> "pa.Table":
    import pyarrow as pa

    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if field.name in as_text:
            values = [None if value is None else _as_text(value) for value in values]
        columns.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _as_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # Half of a surrogate pair, which JSON can spell, can be written nowhere.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
