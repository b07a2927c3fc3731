"""Read one file into columns: CSV, JSON, Excel, Parquet or Arrow, in whatever encoding and packing it comes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.errors import DataError
from sgg_ray.job_folder import why_missing
from sgg_ray.tasks.arrow import ARROW, arrow_frame, arrow_schema, arrow_texts
from sgg_ray.tasks.compressed import ENDINGS, bare_suffix
from sgg_ray.tasks.csv_rows import Oddities, open_csv
from sgg_ray.tasks.encoding import text_file
from sgg_ray.tasks.json_rows import json_rows
from sgg_ray.tasks.sheets import sheet_rows
from sgg_ray.tasks.signature import check_signature

if TYPE_CHECKING:
    import pandas as pd

SEPARATED = {".csv": ",", ".tsv": "\t"}  # the separator that a suffix promises
LINES = (".jsonl", ".json", ".ndjson")
SHEET = ".xlsx"
SAMPLE = 200  # rows
WHOLE = (".parquet", *ARROW, SHEET)  # are not unpacked: they pack themselves
SUFFIXES = (*SEPARATED, *LINES, *WHOLE)


@dataclass(frozen=True)
class Columns:
    """The wanted columns of a table, the names of all that it has, and what was noticed while reading.

    Attributes:
        first: the first ``SAMPLE`` values of every column, wanted or not, that may hold texts.
    """

    frame: "pd.DataFrame"
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    first: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def read_file(path: Path, wanted: Sequence[str], where: str) -> Columns:
    """Read the wanted columns of a file, as far as it has them.

    Args:
        path: with one of ``SUFFIXES``; the text formats may be packed as well (.csv.gz).
        wanted: names of columns.
        where: the path's place in the YAML, for messages.

    Raises:
        DataError: there is no such file, or it is not what its suffix says.
    """
    with readable(path, where) as suffix:
        if suffix == SHEET:
            return _sheet(path, wanted, where)
        if suffix in WHOLE:
            return _arrow(path, wanted, where)
        return _csv(path, wanted, where, suffix) if suffix in SEPARATED else _json(path, wanted, where)


@contextmanager
def readable(path: Path, where: str, base: str = "the YAML file") -> Iterator[str]:
    """Look at a file before it is read, give its suffix, and turn what the system says into a DataError.

    Args:
        path: the file.
        where: its place in the YAML, or the option that named it.
        base: what relative paths start at, for the message.
    """
    try:
        if path.is_dir():
            raise DataError(f"{where}: {path} is a folder; give a file ({', '.join(SUFFIXES)})")
        suffix = path.suffix.lower()
        if suffix not in (*SUFFIXES, *ENDINGS):
            raise DataError(f"{where}: {path} is no {', '.join(SUFFIXES)} file; convert it")
        if not path.stat().st_size:
            raise DataError(f"{where}: {path} is empty; give a file with rows")
        check_signature(path, suffix, where)
        if suffix in ENDINGS:
            suffix = bare_suffix(path, where)
            if suffix not in (*SEPARATED, *LINES):
                raise DataError(
                    f"{where}: {path} is packed, and what is in it is read from {', '.join((*SEPARATED, *LINES))} "
                    f"files only, found '{suffix}'; unpack it"
                )
        yield suffix
    except FileNotFoundError:
        raise DataError(
            f"{where}: {path} does not exist; relative paths start at {base}{why_missing(path)}"
        ) from None
    except OSError as error:
        raise DataError(f"{where}: {path} cannot be read ({error.strerror or error})") from None


def check_names(names: Sequence[str], wanted: Sequence[str], path: Path, where: str) -> None:
    """See that each wanted column is there once at most.

    Raises:
        DataError: nobody can say which one is meant.
    """
    for name in dict.fromkeys(wanted):
        if names.count(name) > 1:
            raise DataError(
                f"{where}: {path} has {names.count(name)} columns of the name '{name}'; rename them"
            )


def _csv(path: Path, wanted: Sequence[str], where: str, suffix: str) -> Columns:
    table = open_csv(text_file(path, where), SEPARATED[suffix])
    check_names(table.header, wanted, path, where)
    present = {name: table.names.index(name) for name in dict.fromkeys(wanted) if name in table.names}
    columns: dict[str, list] = {name: [] for name in present}
    kept = [(columns[name], place) for name, place in present.items()]
    first: list[list] = []
    odd, count = Oddities(), 0
    for row in table.rows(odd):
        count += 1
        if count <= SAMPLE:
            first.append(row)
        for values, place in kept:
            values.append(row[place])
    notes = (*table.file.notes, *table.dialect.notes, *odd.notes())
    return Columns(_frame(columns, count), table.names, notes, dict(zip(table.names, zip(*first))))


def _json(path: Path, wanted: Sequence[str], where: str) -> Columns:
    file = text_file(path, where)
    told = list(file.notes)
    return replace(_objects(json_rows(file, told), wanted), notes=tuple(told))


def _sheet(path: Path, wanted: Sequence[str], where: str) -> Columns:
    told: list[str] = []
    columns = _objects(sheet_rows(path, where, told, wanted), wanted)
    return replace(columns, notes=tuple(told))


def _objects(rows: Iterator[dict], wanted: Sequence[str]) -> Columns:
    columns: dict[str, list] = {name: [] for name in wanted}
    names: dict[str, None] = {}
    first: list[dict] = []
    count = 0
    for row in rows:
        count += 1
        if not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
        if count <= SAMPLE:
            first.append(row)
        for name, values in columns.items():
            values.append(row.get(name))
    present = {name: values for name, values in columns.items() if name in names}
    sample = {name: [row.get(name) for row in first] for name in names}
    return Columns(_frame(present, count), tuple(names), first=sample)


def _frame(columns: dict[str, list], count: int) -> "pd.DataFrame":
    import pandas as pd

    # As objects: pandas would turn 1 and null into 1.0 and nan.
    series = {name: pd.Series(values, dtype=object) for name, values in columns.items()}
    return pd.DataFrame(series, index=pd.RangeIndex(count))


def _arrow(path: Path, wanted: Sequence[str], where: str) -> Columns:
    names = tuple(arrow_schema(path, where).names)
    check_names(names, wanted, path, where)
    present = [name for name in dict.fromkeys(wanted) if name in names]
    frame = arrow_frame(path, where, present)
    return Columns(frame, names, first=arrow_texts(path, where, SAMPLE))
