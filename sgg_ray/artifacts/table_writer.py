"""Write a table in parts, as CSV, JSON lines or Parquet by the file's suffix; it is whole or not there at all."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet

from sgg_ray.artifacts.files import as_json, replaced_file
from sgg_ray.bounded import refused_name
from sgg_ray.errors import ConfigError


class Writer(Protocol):
    """Takes one part of a table after the other."""

    def write(self, table: pa.Table, /) -> None:
        """Append the rows of ``table``."""
        ...


class _JsonLines:
    def __init__(self, file: IO[bytes], schema: pa.Schema):
        self.file = file

    def write(self, table: pa.Table, /) -> None:
        lines = (json.dumps(as_json(row), ensure_ascii=False, allow_nan=False) for row in table.to_pylist())
        self.file.write("".join(line + "\n" for line in lines).encode("utf-8"))


class _Csv:
    """Lists and objects are written as JSON; a missing value is an empty field."""

    def __init__(self, file: IO[bytes], schema: pa.Schema):
        self.file = file
        self._write([schema.names])

    def write(self, table: pa.Table, /) -> None:
        self._write(list(zip(*(_fields(column) for column in table.columns))))

    def _write(self, rows: Sequence[Sequence[Any]]) -> None:
        # Python 3.11.7's csv quotes a carriage return only if it is part of the line end; left bare in a text it tears
        # the row for whoever reads the file. So lines are written with "\r\n", which is then shortened.
        lines = _Lines()
        csv.writer(lines, lineterminator="\r\n").writerows(rows)
        self.file.write("".join(line.removesuffix("\r\n") + "\n" for line in lines.written).encode("utf-8"))


class _Lines:
    """Takes what csv writes, a row at a time."""

    def __init__(self):
        self.written: list[str] = []

    def write(self, line: str) -> None:
        """Keep one row with its line end."""
        self.written.append(line)


def _fields(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    simple = pa.types.is_string(column.type) or pa.types.is_floating(column.type)
    return values if simple else [_field(value) for value in values]


def _field(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(as_json(value), ensure_ascii=False)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_output(path: Path, option: str, overwrite: bool) -> None:
    """Look whether a table can be written to ``path``, before anything else is done.

    Args:
        path: the file.
        option: what named it, for messages.
        overwrite: whether a file that is there already may be replaced.

    Raises:
        ConfigError: another suffix, a file that is there already, or a folder that is missing or cannot be written to.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{option}: {path} must end in {', '.join(SUFFIXES)}: the suffix chooses the format"
        )
    if refused := refused_name(path):
        raise ConfigError(f"{option}: cannot write to {path} ({refused}); choose another name")
    if path.is_dir():
        raise ConfigError(f"{option}: {path} is a folder; give a file")
    if path.exists() and not overwrite:
        raise ConfigError(f"{option}: {path} exists already; give another name, or add --overwrite")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir():
        raise ConfigError(f"{option}: {there} is no folder; choose another file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{option}: cannot write to {there}; choose another folder")


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[Writer]:
    """Open ``path`` for the length of a ``with`` block. What was there before stays if the block fails."""
    suffix = path.suffix.lower()
    with replaced_file(path) as file:
        if suffix == ".parquet":
            with pyarrow.parquet.ParquetWriter(file, schema) as writer:
                yield writer
        else:
            yield (_Csv if suffix == ".csv" else _JsonLines)(file, schema)
