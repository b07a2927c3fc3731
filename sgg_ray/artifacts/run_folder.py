"""The run folder: what every run leaves behind, written so that a kill at any moment leaves it usable."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.artifacts.files import (
    FolderLock,
    append_text,
    as_json,
    drop_torn_line,
    replace_file,
    whole_lines,
)
from sgg_ray.artifacts.run_json import checked_record, differences, new_record, now
from sgg_ray.artifacts.run_storage import Remote, StorageFolder, address, is_uri, local_folder, location
from sgg_ray.config import Config, dump_config
from sgg_ray.errors import MACHINE, ConfigError, told_where

if TYPE_CHECKING:
    import pandas

EVENTS = "events.jsonl"
_PRIVATE = (".yaml", "run.json")  # settings: they hold no passwords that are known as such
_SHOWN_DIFFERENCES = 3
_PUSH_SECONDS = 5.0  # between copies of events.jsonl to a storage that cannot append
# Folders that Ray and its workers read and write by themselves.
_WORKERS_OWN = ("ray_train", "ray_tune", "ray_groups", "ray_scoring", "ray_alone", "baseline_model")


class RunFolder:
    """``storage/name/``: config.yaml, run.json, events.jsonl and results. One process writes it at a time.

    Making the object touches nothing; ``begin`` does. Behind a URI, ``path`` is a mirror on the local disk that
    ``begin`` and ``fetch`` fill: files that are written there are copied to the storage with the next one that goes
    through this object. A kill can cost the last seconds of events.jsonl then, and nothing keeps a second process
    from the same run.
    """

    def __init__(self, storage: str | Path, name: str):
        if name in ("", ".", "..") or Path(name).name != name:
            raise ConfigError(f"name: {name!r} cannot be the name of a folder; use letters, digits, . _ -")
        self.storage = storage if is_uri(storage) else local_folder(storage)
        self.name = name
        self.location = location(storage, name)  # what people call it
        self._remote = Remote(address(storage, name)) if is_uri(storage) else None
        self.path = self._remote.mirror if self._remote else Path(self.location)
        self._mirrored = self._remote is None
        self._pushed = time.monotonic()
        self._lock: FolderLock | None = None
        self.mended = ""  # what `begin` has found broken and put right, in words

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any]:
        """Current content of run.json; empty if no run of this name exists."""
        try:
            if self._remote is not None and not self._mirrored:
                return checked_record(self._remote.read("run.json") or b"{}")
            return checked_record((self.path / "run.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"name: {self.location}: run.json cannot be read ({error}); choose another --name or delete "
                "the folder"
            ) from None

    @property
    def status(self) -> str:
        """``new``, ``running`` (also when it was killed), ``finished`` or ``failed``."""
        return self.record.get("status", "new")

    def check(self, config: Config) -> bool:
        """Whether ``config`` would go on with an unfinished run (True) or start a new one. Writes nothing.

        Raises ConfigError when the name is finished, unfinished with other settings, or taken by other files.
        """
        record = self.record
        if not record:
            self._refuse_foreign()
            self._refuse_unwritable()
            return False
        if record.get("status") == "finished":
            raise ConfigError(
                f"name: run {self.name!r} in {self.location} is finished; choose another --name or delete the "
                "folder"
            )
        self._refuse_links()
        changes = differences(record.get("settings", {}), as_json(config.flat()))
        if changes:
            more = len(changes) - _SHOWN_DIFFERENCES
            shown = "; ".join(changes[:_SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
            raise ConfigError(
                f"name: run {self.name!r} in {self.location} was begun with other settings: {shown}; choose "
                "another --name, delete the folder, or use the same settings to resume it"
            )
        return True

    def begin(self, config: Config) -> bool:
        """Make the folder, or open an unfinished one; True when it is resumed.

        Writes config.yaml and run.json: versions, git commit, seed, settings, status, start time.
        Raises ConfigError as ``check`` does, and when the folder cannot be written.
        """
        try:
            self.fetch()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
            resumed = self.check(config)
            if resumed:
                self.mended = self._mend_events()
                resumes = [*self.record.get("resumed", []), now()]
                self.update(status="running", resumed=resumes, ended=None)
            else:
                self.write_json("run.json", new_record(self.name, config))
            self.write_text("config.yaml", dump_config(config))
        except BlockingIOError:
            raise ConfigError(
                f"name: run {self.name!r} in {self.location} is being written by another process; wait for it to "
                "end or choose another --name"
            ) from None
        except OSError as error:
            advice = ", or ".join(filter(None, (MACHINE.get(error.errno or 0), "choose another folder")))
            raise ConfigError(
                f"ray.storage_path: cannot write to {self.location}: {error.strerror}; {advice}"
            ) from None
        return resumed

    def fetch(self) -> None:
        """Download the files of a run folder behind a URI into its local copy; does nothing for a local folder."""
        if self._remote is not None:
            self._remote.pull(without=_WORKERS_OWN)
            self._mirrored = True

    def state(self, name: str) -> StorageFolder:
        """Subfolder that Ray's workers read and write directly, from every node."""
        assert name in _WORKERS_OWN
        if self._remote is not None:
            return StorageFolder(f"{self._remote.path}/{name}", self._remote.filesystem)
        return StorageFolder((self.path.resolve() / name).as_posix())

    def _push(self) -> None:
        if self._remote is not None:
            self._remote.push()
            self._pushed = time.monotonic()

    def _refuse_foreign(self) -> None:
        """run.json is a run's first file: a folder with other files and without it is somebody else's."""
        if self._remote is not None:
            self._remote.check()
            foreign = next(self._remote.names(), None) is not None
        elif self.path.is_dir():
            foreign = any(not path.name.startswith(".") for path in self.path.iterdir())
        else:
            foreign = self.path.exists()
        if foreign:
            raise ConfigError(
                f"name: {self.location} is there and is no run of sgg (it has no run.json); choose another "
                "--name or another ray.storage_path"
            )

    def _refuse_links(self) -> None:
        """A link in a run folder leads what is written to a file that is none of the run's."""
        links = [path.name for path in self.path.iterdir() if path.is_symlink()] if self.path.is_dir() else []
        if links:
            raise ConfigError(
                f"name: {self.location}: {links[0]} is a symbolic link; put the file itself in its place, or choose "
                "another --name"
            )

    def _refuse_unwritable(self) -> None:
        """Ask before anything starts; ``begin`` would find out too, but later."""
        if self._remote is not None:
            return  # object stores have no permissions that can be looked at
        there = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(f"ray.storage_path: cannot write to {there}; choose another folder")

    def update(self, **fields: Any) -> None:
        """Set fields of run.json, for instance ``mlflow_run_id``."""
        self.write_json("run.json", {**self.record, **fields})

    def finish(self, status: str = "finished") -> None:
        """Mark the run ``finished`` or ``failed``, with the time. A failed run may be resumed."""
        self.update(status=status, ended=now())
        self._lock = None

    # -- events --------------------------------------------------------------------------------------------

    def append_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Add events to events.jsonl, one JSON object a line; NaN and infinity become null."""
        lines = _event_lines(events)
        # One write of whole lines: a kill leaves at most one torn line, at the very end.
        path = self.path / EVENTS
        try:
            with told_where(path):
                append_text(path, lines)
        except OSError:
            drop_torn_line(path)  # what is told next would be glued to it
            raise
        if time.monotonic() - self._pushed > _PUSH_SECONDS:
            self._push()

    def replace_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Put these in the place of all that events.jsonl holds."""
        replace_file(self.path / EVENTS, _event_lines(events).encode())
        self._push()

    def read_events(self) -> list[dict[str, Any]]:
        """All events in the order of writing; a torn last line is left out. [] when there are none."""
        try:
            whole, _ = whole_lines((self.path / EVENTS).read_bytes())
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in whole]

    def _mend_events(self) -> str:
        """Drop lines that a kill or somebody else has broken; what to tell about it."""
        path = self.path / EVENTS
        if not path.exists():
            return ""
        whole, broken = whole_lines(path.read_bytes())
        replace_file(path, b"".join(line + b"\n" for line in whole))
        if not broken:
            return ""
        some = f"{broken:,} line{'s' * (broken > 1)}"
        return f"{some} of {path} cannot be read and {'were' if broken > 1 else 'was'} dropped: curves lack these steps"

    # -- results -------------------------------------------------------------------------------------------

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the folder atomically; returns its path."""
        return self._write(name, text.encode("utf-8"))

    def write_json(self, name: str, payload: Any) -> Path:
        """Write JSON atomically; NaN and infinity become null, numpy values plain ones."""
        return self.write_text(name, json.dumps(as_json(payload), indent=2, allow_nan=False) + "\n")

    def write_parquet(self, name: str, frame: pandas.DataFrame) -> Path:
        """Write a table atomically as Parquet."""
        return self._write(name, frame.to_parquet(index=False))

    def _write(self, name: str, content: bytes) -> Path:
        private = name.endswith(_PRIVATE)
        path = replace_file(self.path / name, content, 0o600 if private else 0o644)
        self._push()
        return path


def _event_lines(events: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(as_json(event), allow_nan=False) + "\n" for event in events)
