"""Open a file for reading, and unpack it on the way if it is compressed, whatever its name says."""

import bz2
import gzip
import lzma
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from sgg_ray.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = (  # what a compressed file begins with
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
)
ENDINGS = (".gz", ".zst", ".bz2", ".xz", ".zip")
HIDDEN = ("__MACOSX/", ".")  # what macOS puts into an archive beside the files


def compression_of(path: Path) -> str | None:
    """The method by which a file is compressed, by its first bytes; None if it is not."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for magic, name in MAGIC if head.startswith(magic)), None)


def bare_suffix(path: Path, where: str) -> str:
    """The suffix that tells what a file holds: '.csv' of 'rows.csv.gz', and of a 'rows.zip' with 'rows.csv' in it."""
    if path.suffix.lower() not in ENDINGS:
        return path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    if inner or compression_of(path) != "zip":
        return inner
    return Path(_only_member(path, where)).suffix.lower()


@contextmanager
def open_unpacked(path: Path, where: str) -> "Iterator[IO[bytes]]":
    """The bytes of a file, unpacked.

    Args:
        path: the file.
        where: its place in the YAML, or the option that named it.

    Raises:
        DataError: it is damaged, or an archive of several files.
    """
    method = compression_of(path)
    try:
        with _opened(path, method, where) as file:
            yield file
    except (EOFError, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise DataError(f"{where}: {path} cannot be unpacked ({error}); fetch it or pack it again") from None
    except OSError as error:
        if error.errno or method is None:  # the system's; those of the unpackers have no number
            raise
        raise DataError(f"{where}: {path} cannot be unpacked ({error}); fetch it or pack it again") from None


def _opened(path: Path, method: str | None, where: str) -> Any:
    if method == "gzip":
        return gzip.open(path)
    if method == "bzip2":
        return bz2.open(path)
    if method == "xz":
        return lzma.open(path)
    if method == "zip":
        return _member(path, where)
    if method == "zstd":
        import pyarrow as pa

        return pa.input_stream(str(path), compression="zstd")
    return path.open("rb")


@contextmanager
def _member(path: Path, where: str) -> "Iterator[IO[bytes]]":
    with zipfile.ZipFile(path) as archive:
        try:
            file = archive.open(_only_member(path, where))
        except (RuntimeError, NotImplementedError) as error:  # a password, or a method that Python lacks
            raise DataError(f"{where}: {path} cannot be unpacked ({error}); unpack it") from None
        with file:
            yield cast(IO[bytes], file)


def _only_member(path: Path, where: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                name
                for name in archive.namelist()
                if not name.endswith("/")
                and not name.startswith(HIDDEN[0])
                and Path(name).name[0] != HIDDEN[1]
            ]
    except zipfile.BadZipFile as error:
        raise DataError(f"{where}: {path} cannot be unpacked ({error}); fetch it or pack it again") from None
    if "xl/workbook.xml" in names:
        raise DataError(f"{where}: {path} is an Excel workbook; rename it to {path.stem}.xlsx")
    if len(names) != 1:
        held = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "nothing"
        raise DataError(
            f"{where}: {path} is an archive of {len(names)} files ({held}); unpack it, and give one of them"
        )
    return names[0]
