"""Find out in which encoding a text file is written, and open it so."""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO, cast

from sgg_ray.errors import DataError
from sgg_ray.tasks.compressed import compression_of, open_unpacked

BYTE_ORDER_MARKS = (  # UTF-32's begins with UTF-16's: it has to be tried first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CHUNK = 1 << 24  # bytes
SAMPLE = 1 << 12  # bytes looked at for UTF-16 without a mark
FOREIGN = re.compile("[^\x00-\x7f]+")
LATIN = re.compile("[A-Za-z]+")
LONG_RUN, LEAST_FOREIGN = 3, 20  # characters
FOREIGN_SHARE = 0.25  # of all letters; in Western languages it is a tenth at most


@dataclass(frozen=True)
class TextFile:
    """A text file with its encoding, packed or not.

    Attributes:
        where: the path's place in the YAML, or the option that named it, for messages.
        notes: what was noticed while looking at it.
    """

    path: Path
    where: str
    encoding: str
    notes: tuple[str, ...] = ()

    @contextmanager
    def open(self, newline: str | None = None) -> Iterator[TextIO]:
        """The file as text; ``newline`` as for the built-in ``open``."""
        with (
            open_unpacked(self.path, self.where) as file,
            io.TextIOWrapper(cast(IO[bytes], file), self.encoding, errors="replace", newline=newline) as text,
        ):
            yield text


def text_file(path: Path, where: str) -> TextFile:
    """Look at a file from end to end: packing and encoding.

    Raises:
        DataError: it is packed, and damaged.
    """
    method = compression_of(path)
    expected = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip"}
    notes = []
    if method is not None and expected.get(path.suffix.lower()) != method:
        notes.append(f"{path.name} is compressed ({method}): unpacked while it is read")
    encoding, told = find_encoding(path, where)
    return TextFile(path, where, encoding, (*notes, *told))


def find_encoding(path: Path, where: str) -> tuple[str, tuple[str, ...]]:
    """The encoding to read a text file with, and a note if it is not UTF-8.

    Spreadsheets write Windows-1252 and UTF-16. A file that is UTF-8 but for a few torn characters stays
    UTF-8: to read all of it as Windows-1252 would break every accent for the sake of those.
    """
    with open_unpacked(path, where) as file:
        chunk = file.read(CHUNK)
        for mark, encoding in BYTE_ORDER_MARKS:
            if chunk.startswith(mark):
                return encoding, (f"not UTF-8: read as {encoding.upper()}",)
        if wide := _unmarked(chunk[:SAMPLE]):
            return wide, (f"not UTF-8: read as {wide.upper()}",)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk:
                decoder.decode(chunk)
                chunk = file.read(CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            pass
        else:
            return "utf-8-sig", ()
    with open_unpacked(path, where) as file:
        return _other_encoding(file.read(), path, where)


def _unmarked(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, which shows in text with many Latin letters; None if it is not."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < 0.4 * (len(head) / 2) or min(even, odd) > 0.1 * max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _other_encoding(data: bytes, path: Path, where: str) -> tuple[str, tuple[str, ...]]:
    whole = data.decode("utf-8", "ignore")
    torn = data.decode("utf-8", "replace").count("�") - whole.count("�")
    sound = len(whole) - len(whole.encode("ascii", "ignore"))
    if sound > torn:
        are = "character that is" if torn == 1 else "characters that are"
        return "utf-8-sig", (f"{torn} {are} not UTF-8 replaced",)
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        encoding = "latin-1"  # takes any byte
    else:
        encoding = "cp1252"
    _refuse_other_scripts(data.decode(encoding), path, where)
    return encoding, (f"not UTF-8: read as {encoding}; convert it if characters look wrong",)


def _refuse_other_scripts(text: str, path: Path, where: str) -> None:
    """Raise a DataError where a text of another script was taken for Western.

    Accents are few among the letters of a text, and seldom stand side by side. English with broken quotation marks and
    signs here and there has runs of them too, but is English.
    """
    runs = FOREIGN.findall(text)
    foreign = sum(map(len, runs))
    letters = foreign + sum(map(len, LATIN.findall(text)))
    long = [run for run in runs if len(run) >= LONG_RUN]
    many = foreign >= max(LEAST_FOREIGN, FOREIGN_SHARE * letters)
    if many and sum(map(len, long)) > foreign / 2:
        raise DataError(
            f"{where}: {path} is not UTF-8, and as Windows-1252 its texts would read '{long[0][:20]}'; convert it to "
            "UTF-8 (iconv -f ITS-ENCODING -t UTF-8, or save it anew in the program that wrote it)"
        )
