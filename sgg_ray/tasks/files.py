"""Read one file into columns: CSV, JSON lines, Parquet, in whatever encoding it comes."""

import codecs
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    try:
        if path.is_dir():
            raise DataError(f"{where}: {path} is a folder; give a file ({', '.join(SUFFIXES)})")
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise DataError(f"{where}: {path} is no {', '.join(SUFFIXES)} file; convert it")
        if not path.stat().st_size:
            raise DataError(f"{where}: {path} is empty; give a file with rows")
        if suffix == ".parquet":
            return _parquet(path, wanted, where)
        encoding, notes = find_encoding(path)
        columns = (_csv if suffix == ".csv" else _jsonl)(path, wanted, where, encoding)
        return Columns(columns.frame, columns.names, notes)
    except FileNotFoundError:
        raise DataError(f"{where}: {path} does not exist; relative paths start at the YAML file") from None
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

    try:
        # Everything as text: "007" and "1.50" stay, "NA" and "null" are words; only empty fields are missing.
        # No `usecols`: with it pandas no longer notices rows with too many fields.
        frame = pd.read_csv(
            path,
            encoding=encoding,
            encoding_errors="replace",
            dtype=str,
            keep_default_na=False,
            na_values=[""],
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise DataError(f"{where}: {path} is not valid CSV ({_csv_reason(error)})") from None
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas takes the first column for row names if every row has more fields than the header.
        raise DataError(f"{where}: {path} is not valid CSV (its rows have more fields than its header)")
    names = tuple(str(name) for name in frame.columns)
    return Columns(frame[[name for name in dict.fromkeys(wanted) if name in names]], names)


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
            if not row.keys() <= names.keys():
                names.update(dict.fromkeys(row))
            for name, values in columns.items():
                values.append(row.get(name))
    # As objects: pandas would turn 1 and null into 1.0 and nan.
    present = {name: pd.Series(values, dtype=object) for name, values in columns.items() if name in names}
    return Columns(pd.DataFrame(present), tuple(names))


def _parquet(path: Path, wanted: Sequence[str], where: str) -> Columns:
    import pyarrow
    import pyarrow.parquet

    try:
        names = tuple(pyarrow.parquet.read_schema(path).names)
        present = [name for name in dict.fromkeys(wanted) if name in names]
        frame = pyarrow.parquet.read_table(path, columns=present).to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # not Arrow's, which has no number, but the system's
            raise
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{where}: {path} is no readable Parquet file ({reason})") from None
    return Columns(frame, names)
