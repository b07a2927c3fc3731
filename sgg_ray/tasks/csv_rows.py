"""Read the rows of a CSV file one by one, and tell what is odd about them instead of joining or losing any."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from sgg_ray.config import UNSEEN
from sgg_ray.errors import DataError
from sgg_ray.tasks.csv_dialect import Dialect, find_dialect, numbered
from sgg_ray.tasks.encoding import TextFile

# In place of line ends inside of a line, which csv takes for the end of a row; no decoded text holds these.
MASKS = {"\r": "\udc0d", "\n": "\udc0a"}
MOST_LINES = 10_000  # of one row; more are a quote that is not closed
SHOWN = 60  # characters of a broken row
BACKSLASHES = re.compile(r'\\+(?!["\\])')

Row = list[str | None]


@dataclass
class Oddities:
    """What was odd in the rows read so far: the line of the first, and how many."""

    unclosed: list[int] = field(default_factory=list)
    spanning: list[tuple[int, int]] = field(default_factory=list)  # line, and how many lines the row spans
    short: list[int] = field(default_factory=list)

    def notes(self) -> tuple[str, ...]:
        """One line per irregularity, for the command's output."""
        found = []
        if self.unclosed:
            found.append(f"{_lines(self.unclosed)}: an unclosed quote is read as a character")
        if self.spanning:
            line, length = self.spanning[0]
            more = f" (and {len(self.spanning) - 1} more)" if len(self.spanning) > 1 else ""
            found.append(
                f"line {line}{more}: one text spans {length} lines that look like rows; is a quote not closed?"
            )
        if self.short:
            found.append(f"{_lines(self.short)}: fewer fields than the header, taken for missing values")
        return tuple(found)


def _lines(numbers: list[int]) -> str:
    return f"line {numbers[0]}" + (f" and {len(numbers) - 1:,} more" if len(numbers) > 1 else "")


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose header has been read.

    Attributes:
        header: the names as they stand in the file.
        names: the same, with a number where one comes twice and a name where there is none.
    """

    file: TextFile
    dialect: Dialect
    header: tuple[str, ...]
    names: tuple[str, ...]

    def rows(self, odd: Oddities) -> Iterator[Row]:
        """The values of each row, as texts; None for an empty field.

        Args:
            odd: what is odd is added to it.

        Raises:
            DataError: a row has more fields than the header.
        """
        width, count = len(self.names), 0
        for line, values in _records(self.file, self.dialect, odd):
            if line == 0 or _is_blank(values, width):
                continue
            if len(values) > width:
                if any(value.strip() for value in values[width:]):
                    raise DataError(self._too_wide(line, values, count))
                values = values[:width]
            elif len(values) < width:
                odd.short.append(line)
            if any("\n" in value for value in values):
                self._look_at(line, values, odd)
            count += 1
            yield [value or None for value in values] + [None] * (width - len(values))

    def _too_wide(self, line: int, values: list[str], count: int) -> str:
        held = self.dialect.separator.join(values)
        shown = held[:SHOWN] + ("..." if len(held) > SHOWN else "")
        advice = f"put texts that hold {self.dialect.separator!r} in quotes"
        if len(self.names) == 1:
            name = self.names[0][:SHOWN]
            advice = f"if '{name}' is no name of a column, delete the lines above the names; or {advice}"
        return (
            f"{self.file.where}: {self.file.path} is not valid CSV (line {line} has {len(values)} fields, expected "
            f"{len(self.names)}: {shown!r}; {count:,} row{'' if count == 1 else 's'} before it could be read); "
            f"{advice}"
        )

    def _look_at(self, line: int, values: list[str], odd: Oddities) -> None:
        """Note a text whose lines look like rows of this file: a stray quote may have joined them."""
        expected = len(self.names) - 1
        for value in values:
            inner = value.split("\n")[1:-1]
            if (
                expected
                and len(inner) > 1
                and all(row.count(self.dialect.separator) == expected for row in inner)
            ):
                odd.spanning.append((line, len(inner) + 2))


def open_csv(file: TextFile, default: str) -> CsvFile:
    """Find out how a CSV file is written, and read its header.

    Args:
        file: the file.
        default: the separator that its suffix promises.

    Raises:
        DataError: it has no header.
    """
    dialect = find_dialect(file, default)
    header = next((values for line, values in _records(file, dialect, Oddities()) if line == 0), None)
    if header is None:
        raise DataError(f"{file.where}: {file.path} is not valid CSV (it has no line with names of columns)")
    header = [UNSEEN.sub("", name).strip() for name in header]
    while len(header) > 1 and not header[-1]:  # a separator at the end of every line
        header.pop()
    return CsvFile(file, dialect, tuple(header), tuple(numbered(header)))


def _is_blank(values: list[str], width: int) -> bool:
    return not values or (len(values) == 1 and width > 1 and not values[0].strip())


def _records(file: TextFile, dialect: Dialect, odd: Oddities) -> Iterator[tuple[int, list[str]]]:
    """Number of its first line and fields of each row; the header, which is the first that is not blank, has number 0.

    Rows that the standard does not allow, because a quote opens a field and does not close it before the next
    separator, are read once more with that quote as a character. `csv` would take everything up to the next quote,
    other rows included, for one text.
    """
    csv.field_size_limit(2**31 - 1)
    with file.open(newline=dialect.line_end) as text:
        for _ in range(dialect.first):
            text.readline()
        source = _Lines(text, dialect)
        reader = source.reader()
        header = True
        while True:
            start = source.begin()
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                problem = source.mend()
                if problem is None:
                    raise DataError(
                        f"{file.where}: {file.path} is not valid CSV (line {start}: {error})"
                    ) from None
                if problem == "unclosed":
                    odd.unclosed.append(start)
                reader = source.reader()
                continue
            if header and any(value.strip() for value in values):
                yield 0, source.unmasked(values)
                header = False
            elif not header:
                yield start, source.unmasked(values)


class _Lines:
    """The lines of a file for `csv`, which can be put back with a stray quote made a character."""

    def __init__(self, text: Iterable[str], dialect: Dialect):
        self.text = iter(text)
        self.dialect = dialect
        self.number = dialect.first  # of lines read
        self.taken: list[str] = []  # since the current row began
        self.back: deque[str] = deque()
        self.masks = False  # whether there are any
        mark = re.escape(dialect.separator)
        inside = r'(?:[^"\\]|\\.|"")*+' if dialect.escapes else r'(?:[^"]|"")*+'
        self.quoted = re.compile(rf'"{inside}"([ ]*)(?=[{mark}\r\n]|\Z)', re.DOTALL)
        self.field = re.compile(rf"[^{mark}\r\n]*")

    def reader(self) -> Iterator[list[str]]:
        """`csv` over the lines from here on, which refuses what the standard does not allow."""
        return csv.reader(
            self._next_lines(),
            delimiter=self.dialect.separator,
            escapechar="\\" if self.dialect.escapes else None,
            skipinitialspace=self.dialect.spaced,
            strict=True,
        )

    def begin(self) -> int:
        """Begin a row; return the number of its line."""
        self.taken.clear()
        return self.number + 1

    def mend(self) -> Literal["unclosed", "padded"] | None:
        """Put the current row's lines back as the standard has them; return what was wrong, None if nothing was found.

        A quote that was not closed becomes a character; spaces between a closed one and the separator are dropped.
        """
        mended, problem = self._mended("".join(self.taken))
        if problem is None:
            return None
        self.number -= len(self.taken)
        end = self.dialect.line_end
        self.back.extendleft(reversed(re.findall(f"[^{end}]*{end}|[^{end}]+", mended)))
        return problem

    def _next_lines(self) -> Iterator[str]:
        while True:
            line = self.back.popleft() if self.back else self._masked(next(self.text, ""))
            if not line:
                return
            self.number += 1
            self.taken.append(line)
            if len(self.taken) > MOST_LINES:
                raise csv.Error(f"a quote is not closed in {MOST_LINES:,} lines")
            yield line

    def _masked(self, line: str) -> str:
        """The line with other line ends in it out of csv's sight, and with backslashes that are no escapes doubled."""
        end = "\r\n" if line.endswith("\r\n") else self.dialect.line_end
        body, end = (line[: -len(end)], end) if line.endswith(end) else (line, "")
        for mark, mask in MASKS.items():
            if mark in body:
                body, self.masks = body.replace(mark, mask), True
        return (
            BACKSLASHES.sub(lambda found: found.group() * 2, body) if self.dialect.escapes else body
        ) + end

    def _mended(self, text: str) -> tuple[str, Literal["unclosed", "padded"] | None]:
        place = 0
        while place < len(text):
            if self.dialect.spaced and text.startswith(" ", place):
                place += 1
                continue
            bare = self.field.match(text, place)
            assert bare is not None  # it may be empty
            if not text.startswith('"', place):
                place = bare.end() + 1
            elif (quoted := self.quoted.match(text, place)) is None:
                quote = r'(?<!\\)"' if self.dialect.escapes else '"'
                literal = re.sub(quote, '""', bare.group())
                return f'{text[:place]}"{literal}"{text[bare.end() :]}', "unclosed"
            elif quoted.group(1):
                return text[: quoted.start(1)] + text[quoted.end() :], "padded"
            else:
                place = quoted.end() + 1
        return text, None

    def unmasked(self, values: list[str]) -> list[str]:
        """Fields with the line ends that were put out of sight."""
        if self.masks:
            for mark, mask in MASKS.items():
                values = [value.replace(mask, mark) for value in values]
        return values
