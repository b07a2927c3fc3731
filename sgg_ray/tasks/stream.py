"""Read a file of any size in batches, with all its columns and in constant memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.errors import DataError
from sgg_ray.tasks.files import (
    CSV_OPTIONS,
    check_index,
    check_names,
    csv_header,
    find_encoding,
    json_rows,
    readable,
    valid_csv,
    valid_parquet,
)

if TYPE_CHECKING:
    import pyarrow as pa

SCAN = 8192  # rows looked at together while a file is checked


@dataclass(frozen=True)
class RowStream:
    """A file that was looked at from end to end, ready to be read in batches as often as wanted."""

    path: Path
    where: str
    schema: "pa.Schema"
    rows: int
    encoding: str = "utf-8"
    as_text: frozenset[str] = frozenset()  # columns whose values have no common type
    notes: tuple[str, ...] = ()

    def batches(self, size: int) -> Iterator["pa.Table"]:
        """All rows in their order, as tables of at most ``size`` rows with the schema of the whole file.

        Raises:
            DataError: the file is damaged, or has changed meanwhile.
        """
        with readable(self.path, self.where, "the current folder") as suffix:
            if suffix == ".parquet":
                yield from _parquet_batches(self, size)
            elif suffix == ".csv":
                yield from _csv_batches(self.path, self.where, self.encoding, size)
            else:
                for rows in _json_batches(self.path, self.where, self.encoding, size):
                    yield _table(rows, self.schema, self.as_text)


def open_stream(path: Path, where: str) -> RowStream:
    """Read a whole file once without keeping it: its columns, how many rows, and whether every line is sound.

    Reading is quick next to what follows, and a torn line at the end is found before hours of work and not after.

    Args:
        path: .csv, .jsonl or .parquet. A CSV file's values are texts, a JSON lines file's have the types found.
        where: what named the file, for messages.

    Raises:
        DataError: there is no such file, or it is not what its suffix says.
    """
    with readable(path, where, "the current folder") as suffix:
        if suffix == ".parquet":
            import pyarrow.parquet

            with valid_parquet(path, where), pyarrow.parquet.ParquetFile(path) as file:
                check_names(file.schema_arrow.names, file.schema_arrow.names, path, where)
                return RowStream(path, where, file.schema_arrow, file.metadata.num_rows)
        encoding, notes = find_encoding(path)
        if suffix == ".csv":
            return _scan_csv(path, where, encoding, notes)
        return _scan_json(path, where, encoding, notes)


def _parquet_batches(stream: RowStream, size: int) -> Iterator["pa.Table"]:
    import pyarrow as pa
    import pyarrow.parquet

    with valid_parquet(stream.path, stream.where), pyarrow.parquet.ParquetFile(stream.path) as file:
        for batch in file.iter_batches(size):
            yield pa.Table.from_batches([batch])


def _csv_batches(path: Path, where: str, encoding: str, size: int) -> Iterator["pa.Table"]:
    import pandas as pd
    import pyarrow as pa

    with (
        valid_csv(path, where),
        pd.read_csv(path, encoding=encoding, chunksize=size, **CSV_OPTIONS) as chunks,
    ):
        for chunk in chunks:
            check_index(chunk)
            schema = pa.schema([(str(name), pa.string()) for name in chunk.columns])
            yield pa.Table.from_pandas(chunk, schema=schema, preserve_index=False).replace_schema_metadata()


def _scan_csv(path: Path, where: str, encoding: str, notes: tuple[str, ...]) -> RowStream:
    header = [name for name in csv_header(path, encoding) if name]  # pandas names what has none
    check_names(header, header, path, where)
    rows, schema = 0, None
    for batch in _csv_batches(path, where, encoding, SCAN):
        rows, schema = rows + batch.num_rows, schema or batch.schema
    assert schema is not None  # pandas gives an empty chunk for a header alone, and refuses less
    return RowStream(path, where, schema, rows, encoding, notes=notes)


def _json_batches(path: Path, where: str, encoding: str, size: int) -> Iterator[list[dict[str, Any]]]:
    rows = json_rows(path, where, encoding)
    while batch := list(islice(rows, size)):
        yield batch


def _scan_json(path: Path, where: str, encoding: str, notes: tuple[str, ...]) -> RowStream:
    import pyarrow as pa

    count, types, mixed = 0, {}, set()
    for rows in _json_batches(path, where, encoding, SCAN):
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
        notes = (*notes, f"values of different types, or texts that are torn, are kept as text: {names}")
    return RowStream(path, where, schema, count, encoding, frozenset(mixed), notes)


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
