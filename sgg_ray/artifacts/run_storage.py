"""Where run folders are kept: a folder that this machine sees, or one behind a URI such as s3://bucket/runs.

A folder behind a URI has a mirror on the local disk, in which this process works; what changes there is written back.
"""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sgg_ray.artifacts.files import replace_file
from sgg_ray.config import resolved
from sgg_ray.errors import ClusterError, ConfigError
from sgg_ray.secrets import redacted

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_BUCKETS = ("s3", "gs", "gcs")  # a bucket is not made by writing to it


def is_uri(storage: str | Path) -> bool:
    """Whether ``storage`` is an address that this machine does not see as a folder. ``file://`` is none."""
    address = _resolved(storage)
    return bool(_URI.match(address)) and not address.startswith("file://")


def local_folder(storage: str | Path) -> Path:
    """The folder that a path or a file:// URI names."""
    text = _resolved(storage)
    return Path(url2pathname(urlsplit(text).path)) if text.startswith("file://") else Path(text)


def location(storage: str | Path, name: str) -> str:
    """What people call the folder ``name`` of ``storage``: without passwords, with variables as they are written."""
    if not is_uri(storage):
        return str(local_folder(storage) / name)
    return redacted(_below(str(storage), name))


def address(storage: str | Path, name: str) -> str:
    """The URI of the folder ``name`` of ``storage``, with everything that is needed to reach it."""
    return _below(_resolved(storage), name)


def _below(storage: str, name: str) -> str:
    base, mark, options = storage.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{options}"


def _resolved(storage: str | Path) -> str:
    return resolved(str(storage), "ray.storage_path")


def open_uri(uri: str) -> tuple[FileSystem, str]:
    """The file system behind a URI, and the path in it: pyarrow's own ones, then those of fsspec.

    Raises:
        ConfigError: there is none for it, or it cannot be reached.
    """
    import fsspec
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    scheme = uri.partition("://")[0].lower()
    if scheme == "memory":
        raise ConfigError(
            f"ray.storage_path: {uri!r} would be another memory in every process; use a folder or s3://, gs://"
        )
    try:
        try:
            return FileSystem.from_uri(uri)
        except ArrowInvalid as error:
            if "nrecognized filesystem" not in str(error):
                raise
            filesystem, path = fsspec.core.url_to_fs(uri)
            return PyFileSystem(FSSpecHandler(filesystem)), path
    except (ValueError, ImportError, OSError) as error:
        raise ConfigError(
            f"ray.storage_path: {uri!r} cannot be opened ({str(error).strip().splitlines()[0]}); use a folder, s3://, "
            "gs://, or a scheme that an installed package gives to fsspec"
        ) from None


@dataclass(frozen=True)
class StorageFolder:
    """A folder that every node can use by itself, in the words in which Ray Train and Ray Tune want it.

    Args:
        path: absolute, or in ``filesystem``.
        filesystem: none for the local one.
    """

    path: str
    filesystem: FileSystem | None = None

    @property
    def parent(self) -> str:
        """Path or URI of the enclosing folder: Ray's ``storage_path``."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Last part of the path: Ray's name of the run or experiment."""
        return self.path.rpartition("/")[2]

    def child(self, name: str) -> StorageFolder:
        """The subfolder of this name."""
        return StorageFolder(f"{self.path}/{name}", self.filesystem)

    def read(self, name: str) -> bytes | None:
        """A file of the folder; none when it is not there."""
        if self.filesystem is None:
            file = Path(self.path, name)
            return file.read_bytes() if file.exists() else None
        return _read(self.filesystem, f"{self.path}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the folder, whole or not at all."""
        if self.filesystem is None:
            replace_file(Path(self.path, name), content)
        else:
            _write(self.filesystem, f"{self.path}/{name}", content)

    def remove(self, name: str) -> None:
        """Remove a file of the folder."""
        if self.filesystem is None:
            Path(self.path, name).unlink()
        else:
            self.filesystem.delete_file(f"{self.path}/{name}")

    def upload(self, folder: Path) -> None:
        """Copy a local folder into this one."""
        from pyarrow.fs import LocalFileSystem, copy_files

        filesystem = self.filesystem or LocalFileSystem()
        filesystem.create_dir(self.path, recursive=True)
        copy_files(str(folder), self.path, LocalFileSystem(), filesystem)

    def download(self, folder: Path) -> None:
        """Copy this folder into a local one."""
        from pyarrow.fs import LocalFileSystem, copy_files

        folder.mkdir(parents=True, exist_ok=True)
        copy_files(self.path, str(folder), self.filesystem or LocalFileSystem(), LocalFileSystem())

    def delete(self) -> None:
        """Remove it with all that is in it. Nobody misses it: what fails here is left lying."""
        if self.filesystem is None:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        with suppress(OSError):
            self.filesystem.delete_dir(self.path)


def storage_folder(storage: str | Path) -> StorageFolder:
    """Where run folders go; of a local one that is not there yet the nearest that is."""
    if is_uri(storage):
        filesystem, path = open_uri(_resolved(storage))
        return StorageFolder(path.rstrip("/"), filesystem)
    folder = local_folder(storage).absolute()
    return StorageFolder(str(next(place for place in (folder, *folder.parents) if place.exists())))


@dataclass
class Remote:
    """A run folder behind a URI, and its mirror.

    Raises ConfigError for a URI that cannot be opened, and ClusterError when the storage does not do what it should.
    """

    uri: str
    filesystem: FileSystem = field(init=False)
    path: str = field(init=False)
    mirror: Path = field(init=False)

    def __post_init__(self):
        self.filesystem, self.path = open_uri(self.uri)
        self.mirror = _mirror(self.uri)
        self._written: dict[str, tuple[int, int]] = {}

    def check(self) -> None:
        """Raise ConfigError if there is no such bucket; writes nothing."""
        bucket = self.path.partition("/")[0]
        if self.uri.partition("://")[0].lower() in _BUCKETS:
            from pyarrow.fs import FileType

            with self._told("read"):
                if self.filesystem.get_file_info(bucket).type == FileType.NotFound:
                    raise ConfigError(
                        f"ray.storage_path: there is no bucket '{bucket}' for {self.uri}; create it first"
                    )

    def read(self, name: str) -> bytes | None:
        """A file of the folder; none when it is not there."""
        with self._told("read"):
            return _read(self.filesystem, f"{self.path}/{name}")

    def names(self) -> Iterator[str]:
        """All files, relative to the folder."""
        from pyarrow.fs import FileSelector, FileType

        with self._told("read"):
            selector = FileSelector(self.path, allow_not_found=True, recursive=True)
            infos = self.filesystem.get_file_info(selector)
        return (info.path[len(self.path) + 1 :] for info in infos if info.type == FileType.File)

    def pull(self, without: tuple[str, ...] = ()) -> None:
        """Make the mirror a copy of the folder, but for Ray's own folders, ``without``."""
        shutil.rmtree(self.mirror, ignore_errors=True)
        self.mirror.mkdir(parents=True)
        for name in self.names():
            content = None if name.split("/")[0] in without else self.read(name)
            if content is not None:
                file = self.mirror / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                self._written[name] = _state(file)

    def push(self) -> None:
        """Write back what has changed, oldest first: a file that marks others as complete comes after them.

        Names that begin with a dot are files that are being written.
        """
        changed = []
        for file in self.mirror.rglob("*"):
            parts = file.relative_to(self.mirror).parts
            if not any(part.startswith(".") for part in parts) and file.is_file():
                name, state = "/".join(parts), _state(file)
                if self._written.get(name) != state:
                    changed.append((state, name))
        for state, name in sorted(changed):
            with self._told("write to"):
                _write(self.filesystem, f"{self.path}/{name}", (self.mirror / name).read_bytes())
            self._written[name] = state

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = str(error).strip().splitlines()[0]
            raise ClusterError(f"ray.storage_path: cannot {what} {self.uri}: {reason}") from error


@functools.cache
def _mirror(uri: str) -> Path:
    """One local folder a URI and process; gone when the process ends."""
    base = Path(tempfile.mkdtemp(prefix="sgg-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    return base / uri.partition("?")[0].rpartition("/")[2]


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _read(filesystem: FileSystem, path: str) -> bytes | None:
    try:
        with filesystem.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def _write(filesystem: FileSystem, path: str, content: bytes) -> None:
    filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)
