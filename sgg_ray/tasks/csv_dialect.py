"""How a CSV file is written: what separates its fields, ends its lines and stands for a quote in a quoted field."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sgg_ray.tasks.encoding import TextFile

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE = 1 << 16  # characters looked at for the separator
LOOKED_AT = 100  # rows of it
CHUNK = 1 << 22  # characters read at once
SPREADSHEET_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's own first line


@dataclass(frozen=True)
class Dialect:
    """What has to be known to read a CSV file.

    Attributes:
        separator: between two fields.
        line_end: the character that ends a line; a carriage return before a line feed belongs to the end as well.
        first: lines before the header.
        spaced: every separator has a space behind it, which is not part of the field.
        escapes: a quote in a quoted field is written as backslash and quote, not as two quotes.
        notes: what is unusual about it, for people.
    """

    separator: str = ","
    line_end: str = "\n"
    first: int = 0
    spaced: bool = False
    escapes: bool = False
    notes: tuple[str, ...] = ()


def find_dialect(file: TextFile, default: str) -> Dialect:
    """Look at a CSV file.

    A line ends where the header's line ends: a bare carriage return in a file of line feeds is part of a text.

    Args:
        file: the file.
        default: the separator that its suffix promises.
    """
    with file.open(newline="") as text:
        sample = text.read(SAMPLE)
    line_end = "\r" if re.search(r"\r(?!\n)|\n", sample + "\n").group() == "\r" else "\n"  # pyright: ignore[reportOptionalMemberAccess]
    lines = _whole_lines(sample, line_end)
    said = SPREADSHEET_LINE.fullmatch(lines[0].strip()) if lines else None
    separator = said.group(1) if said else _separator(lines, default)
    notes = () if separator == default else (f"fields are separated by {_in_words(separator)}",)
    header = next(iter(lines[1 if said else 0 :]), "").strip()
    escapes = _escapes_quotes(file, separator)
    if escapes:
        notes = (*notes, 'quotes are written as \\": read as quotes')
    return Dialect(
        separator,
        line_end,
        1 if said else 0,
        separator in header and header.count(separator) == header.count(separator + " "),
        escapes,
        notes,
    )


def _in_words(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))


def _whole_lines(sample: str, line_end: str) -> list[str]:
    """The sample's lines, the last one only if the sample ends before a file of this size would."""
    lines = list(io.StringIO(sample, newline=line_end))
    return lines[:-1] if len(sample) == SAMPLE and len(lines) > 1 else lines


def _separator(lines: list[str], default: str) -> str:
    """The separator by which most rows have as many fields as the header, which has two at least."""
    cleaned = [line.rstrip("\r\n").replace("\r", " ").replace("\n", " ") + "\n" for line in lines]
    best, best_share = default, -1.0
    for separator in dict.fromkeys((default, *SEPARATORS)):
        try:
            rows = [row for row in csv.reader(cleaned, delimiter=separator) if row][: LOOKED_AT + 1]
        except csv.Error:  # a field of more than 128 KiB
            continue
        if not rows or len(rows[0]) < 2:
            continue
        share = sum(len(row) == len(rows[0]) for row in rows[1:]) / max(len(rows) - 1, 1)
        if share > best_share:
            best, best_share = separator, share
    return best


def _escapes_quotes(file: TextFile, separator: str) -> bool:
    """Whether the file has quotes behind backslashes that end no field, and no doubled quotes inside of fields."""
    mark = re.escape(separator)
    escaped = re.compile(rf'(?<!\\)\\"(?=[^{mark}\r\n"])')
    doubled = re.compile(rf'[^{mark}\r\n"\\]""[^{mark}\r\n"]')
    found, before = False, ""
    with file.open(newline="") as text:
        while chunk := text.read(CHUNK):
            chunk = before + chunk
            if '"' in chunk:
                if doubled.search(chunk):
                    return False
                found = found or bool('\\"' in chunk and escaped.search(chunk))
            before = chunk[-3:]
    return found


def numbered(header: Sequence[str]) -> list[str]:
    """Names of columns, with a number where one comes twice and a name where there is none."""
    names: list[str] = []
    for position, name in enumerate(header):
        own = name or f"Unnamed: {position}"
        copies = (f"{own}.{number}" for number in range(1, len(header) + 1))
        names.append(own if own not in names else next(copy for copy in copies if copy not in names))
    return names
