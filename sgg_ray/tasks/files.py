"""Read one file into columns: CSV, JSON lines, Parquet, in whatever encoding it comes."""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".jsonl", ".parquet")
BYTE_ORDER_MARKS = (  # UTF-32's begins with UTF-16's: it has to be tried first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CHUNK = 1 << 24  # bytes
# Everything as text: "007" and "1.50" stay, "NA" and "null" are words; only empty fields are missing.
CSV_OPTIONS: dict[str, Any] = {
    "dtype": str,
    "keep_default_na": False,
    "na_values": [""],
    "encoding_errors": "replace",
}


@dataclass(frozen=True)
class Columns:
    """The wanted columns of a table, the names of all that it has, and what was noticed while reading."""

    frame: "pd.DataFrame"
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_file(path: Path, wanted: Sequence[str], where: str) -> Columns:
    """Read the wanted columns of a file, as far as it has them.

    Args:
        path: .csv, .jsonl or .parquet.
        wanted: names of columns.
        where: the path's place in the YAML, for messages.

    Raises:
        DataError: there is no such file, or it is not what its suffix says.
    """
    with readable(path, where) as suffix:
        if suffix == ".parquet":
            return _parquet(path, wanted, where)
        encoding, notes = find_encoding(path)
        columns = (_csv if suffix == ".csv" else _jsonl)(path, wanted, where, encoding)
        return Columns(columns.frame, columns.names, notes)


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
        if suffix not in SUFFIXES:
            raise DataError(f"{where}: {path} is no {', '.join(SUFFIXES)} file; convert it")
        if not path.stat().st_size:
            raise DataError(f"{where}: {path} is empty; give a file with rows")
        yield suffix
    except FileNotFoundError:
        raise DataError(f"{where}: {path} does not exist; relative paths start at {base}") from None
    except OSError as error:
        raise DataError(f"{where}: {path} cannot be read ({error.strerror or error})") from None


def find_encoding(path: Path) -> tuple[str, tuple[str, ...]]:
    """The encoding to read a text file with, and a note if it is not UTF-8.

    Spreadsheets write Windows-1252 and UTF-16. A file that is UTF-8 but for a few torn characters stays
    UTF-8: to read all of it as Windows-1252 would break every accent for the sake of those.
    """
    with path.open("rb") as file:
        head = file.read(4)
        for mark, encoding in BYTE_ORDER_MARKS:
            if head.startswith(mark):
                return encoding, (f"not UTF-8: read as {encoding.upper()}",)
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            file.seek(0)
            return _other_encoding(file.read())
    return "utf-8-sig", ()


def _other_encoding(data: bytes) -> tuple[str, tuple[str, ...]]:
    whole = data.decode("utf-8", "ignore")
    torn = data.decode("utf-8", "replace").count("�") - whole.count("�")
    sound = len(whole) - len(whole.encode("ascii", "ignore"))
    if sound > torn:
        return "utf-8-sig", (f"{torn} torn characters that are not UTF-8 replaced",)
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        encoding = "latin-1"  # takes any byte
    else:
        encoding = "cp1252"
    return encoding, (f"not UTF-8: read as {encoding}; convert it if characters look wrong",)


def _csv(path: Path, wanted: Sequence[str], where: str, encoding: str) -> Columns:
    import pandas as pd

    with valid_csv(path, where):
        # No `usecols`: with it pandas no longer notices rows with too many fields.
        frame = pd.read_csv(path, encoding=encoding, **CSV_OPTIONS)
        check_index(frame)
    check_names(csv_header(path, encoding), wanted, path, where)
    names = tuple(str(name) for name in frame.columns)
    return Columns(frame[[name for name in dict.fromkeys(wanted) if name in names]], names)


def csv_header(path: Path, encoding: str) -> list[str]:
    """The names in a CSV file's first line as they stand there; pandas numbers those that come twice."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        try:
            return next((row for row in csv.reader(file) if row), [])
        except csv.Error:  # a field of more than 128 KiB, which is no name
            return []


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


@contextmanager
def valid_csv(path: Path, where: str) -> Iterator[None]:
    """Turn what pandas says about a broken CSV file into a DataError."""
    import pandas as pd

    try:
        yield
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise DataError(f"{where}: {path} is not valid CSV ({_csv_reason(error)})") from None


def check_index(frame: "pd.DataFrame") -> None:
    """pandas takes the first column for row names if every row has more fields than the header."""
    import pandas as pd

    if not isinstance(frame.index, pd.RangeIndex):
        raise pd.errors.ParserError("its rows have more fields than its header")


def _csv_reason(error: Exception) -> str:
    text = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text)
    if fields:
        expected, line, found = fields.groups()
        return f"line {line} has {found} fields, expected {expected}; put texts with commas in quotes"
    if "EOF inside string" in text:
        return f"a quote is never closed: {text}"
    return text


def _jsonl(path: Path, wanted: Sequence[str], where: str, encoding: str) -> Columns:
    import pandas as pd

    columns = {name: [] for name in wanted}
    names: dict[str, None] = {}
    for row in json_rows(path, where, encoding):
        if not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
        for name, values in columns.items():
            values.append(row.get(name))
    # As objects: pandas would turn 1 and null into 1.0 and nan.
    present = {name: pd.Series(values, dtype=object) for name, values in columns.items() if name in names}
    return Columns(pd.DataFrame(present), tuple(names))


def json_rows(path: Path, where: str, encoding: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON lines file, one by one; empty lines are passed over.

    Raises:
        DataError: a line is no JSON, or no object.
    """
    decode = json.JSONDecoder().decode
    with path.open(encoding=encoding, errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.strip()
            if not line:
                continue
            try:
                row = decode(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", "nested too deeply")
                raise DataError(f"{where}: {path}, line {number} is not valid JSON ({reason})") from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{where}: {path}, line {number} must be an object {{...}}, found {line[:40]}"
                )
            yield row


def _parquet(path: Path, wanted: Sequence[str], where: str) -> Columns:
    import pyarrow.parquet

    with valid_parquet(path, where):
        names = tuple(pyarrow.parquet.read_schema(path).names)
        check_names(names, wanted, path, where)
        present = [name for name in dict.fromkeys(wanted) if name in names]
        frame = pyarrow.parquet.read_table(path, columns=present).to_pandas(ignore_metadata=True)
        return Columns(frame, names)


@contextmanager
def valid_parquet(path: Path, where: str) -> Iterator[None]:
    """Turn what Arrow says about a broken Parquet file into a DataError."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # not Arrow's, which has no number, but the system's
            raise
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{where}: {path} is no readable Parquet file ({reason})") from None
