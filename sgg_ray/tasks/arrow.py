"""Read Parquet and Arrow files, whole or in batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sgg_ray.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ARROW = (".arrow", ".feather")
TEXTS = ("string", "large_string", "string_view")  # types


def arrow_schema(path: Path, where: str) -> "pa.Schema":
    """Names and types of a file's columns.

    Raises:
        DataError: it is no readable file of its kind.
    """
    import pyarrow.parquet

    with _valid(path, where):
        if path.suffix.lower() in ARROW:
            with _reader(path) as reader:
                return reader.schema
        return pyarrow.parquet.read_schema(path)


def arrow_table(path: Path, where: str, columns: Sequence[str]) -> "pa.Table":
    """These columns of all rows."""
    import pyarrow as pa
    import pyarrow.parquet

    with _valid(path, where):
        if path.suffix.lower() in ARROW:
            with _reader(path) as reader:
                return pa.Table.from_batches(_batches(reader), reader.schema).select(list(columns))
        return pyarrow.parquet.read_table(path, columns=list(columns))


def arrow_frame(path: Path, where: str, columns: Sequence[str]) -> "pd.DataFrame":
    """These columns of all rows, for pandas. What pandas has written about itself into the file is not read.

    Raises:
        DataError: it is no readable file of its kind, or a text in it is no UTF-8.
    """
    with _valid(path, where):
        table = arrow_table(path, where, columns).replace_schema_metadata(None)
        return table.to_pandas(ignore_metadata=True)


def arrow_texts(path: Path, where: str, rows: int) -> dict[str, list[str | None]]:
    """The first values of each column that holds texts."""
    import pyarrow.parquet

    with _valid(path, where):
        schema = arrow_schema(path, where)
        names = [
            field.name for field in schema if str(field.type) in TEXTS and schema.names.count(field.name) == 1
        ]
        if path.suffix.lower() in ARROW:
            first = next(arrow_batches(path, where, rows), None)
            return {} if first is None else first.select(names).to_pydict()
        with pyarrow.parquet.ParquetFile(path) as file:
            batch = next(file.iter_batches(rows, columns=names), None)
            return {} if batch is None else batch.to_pydict()


def arrow_rows(path: Path, where: str) -> int:
    """How many rows a file has."""
    import pyarrow.parquet

    with _valid(path, where):
        if path.suffix.lower() in ARROW:
            with _reader(path) as reader:
                return sum(batch.num_rows for batch in _batches(reader))
        with pyarrow.parquet.ParquetFile(path) as file:
            return file.metadata.num_rows


def arrow_batches(path: Path, where: str, size: int) -> Iterator["pa.Table"]:
    """All columns, as tables of at most ``size`` rows."""
    import pyarrow as pa
    import pyarrow.parquet

    with _valid(path, where):
        if path.suffix.lower() in ARROW:
            with _reader(path) as reader:
                for batch in _batches(reader):
                    for start in range(0, batch.num_rows, size):
                        yield pa.Table.from_batches([batch.slice(start, size)])
            return
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(size):
                yield pa.Table.from_batches([batch])


@contextmanager
def _reader(path: Path) -> Iterator["pa.RecordBatchFileReader | pa.RecordBatchStreamReader"]:
    """A reader of the file format, or of the stream format that the library ``datasets`` writes."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_stream(source)
        with reader:
            yield reader


def _batches(reader: "pa.RecordBatchFileReader | pa.RecordBatchStreamReader") -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    if isinstance(reader, pa.RecordBatchFileReader):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


@contextmanager
def _valid(path: Path, where: str) -> Iterator[None]:
    """Turn what Arrow says about a broken file into a DataError."""
    import pyarrow as pa

    kind = "Arrow" if path.suffix.lower() in ARROW else "Parquet"
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # not Arrow's, which has no number, but the system's
            raise
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{where}: {path} is no readable {kind} file ({reason})") from None
