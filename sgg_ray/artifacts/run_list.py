"""The runs of a storage folder at a glance: what they were, how they ended, how good their models are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sgg_ray.artifacts.files import FolderLock
from sgg_ray.bounded import read_json
from sgg_ray.errors import ConfigError

QUALITY = (
    "accuracy",
    "micro_f1",
    "spearman",
    "exact_match",
)  # what one number says how good a model is, by kind of task
GUIDED, DIFFERENCE = "guided", "difference"  # sections of metrics.json


@dataclass(frozen=True)
class RunSummary:
    """One run folder.

    Attributes:
        quality: on the test rows, the first that there is of QUALITY; None if nothing was trained.
        gain: difference to the target-only baseline on the same rows; None without one.
        started, ended: UTC, ISO 8601; "" where unknown.
        note: why numbers are missing, if the folder is damaged.
    """

    name: str
    command: str
    status: str
    target: str
    shots: int | None
    seed: int | None
    quality: float | None
    gain: float | None
    started: str
    ended: str
    note: str = ""

    @property
    def seconds(self) -> float | None:
        """Seconds from the first start of the run to its end."""
        if not self.started or not self.ended:
            return None
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """Plain values of the row, for JSON."""
        return {**asdict(self), "seconds": self.seconds}


def list_runs(storage: Path) -> list[RunSummary]:
    """All run folders in ``storage``, the newest first. What is no run folder is passed over; a damaged one is listed.

    Raises:
        ConfigError: there is no such folder.
    """
    if not storage.is_dir():
        raise ConfigError(f"--storage: there is no folder {storage}; give the ray.storage_path of your runs")
    found = [_summary(path.parent) for path in storage.glob("*/run.json")]
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def _summary(folder: Path) -> RunSummary:
    try:
        record = _object(folder / "run.json")
    except (OSError, ValueError) as error:
        return RunSummary(
            folder.name, "?", "damaged", "?", None, None, None, None, "", "", f"run.json: {error}"
        )
    settings = record.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    quality, gain, note = _numbers(folder / "metrics.json")
    return RunSummary(
        folder.name,
        str(record.get("command", "?")),
        _status(folder, str(record.get("status", "?"))),
        str(settings.get("target.name", "?")),
        settings.get("target.shots"),
        settings.get("seed"),
        quality,
        gain,
        str(record.get("started") or ""),
        str(record.get("ended") or ""),
        note,
    )


def _status(folder: Path, recorded: str) -> str:
    """A run that nobody is writing any more is ``stopped``: it was killed, and the same command goes on with it."""
    if recorded != "running":
        return recorded
    try:
        FolderLock(folder)
    except BlockingIOError:
        return "running"
    return "stopped"


def _numbers(path: Path) -> tuple[float | None, float | None, str]:
    """Quality and gain in metrics.json, and what is wrong with it."""
    try:
        metrics = _object(path)
        kept = metrics.get((metrics.get("kept") or {}).get("model", GUIDED)) or {}
        gain = (metrics.get(DIFFERENCE) or {}).get("difference")
        found = (kept.get(name) for name in QUALITY if kept.get(name) is not None)
        return next(found, None), gain, ""
    except FileNotFoundError:
        return None, None, ""
    except (OSError, ValueError, AttributeError) as error:
        return None, None, f"metrics.json: {error}"


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"holds a {type(found).__name__}, not an object")
    return found


def removable_runs(storage: Path, names: Sequence[str]) -> list[Path]:
    """The run folders of these names, each once.

    Raises:
        ConfigError: a name is no run of ``storage``.
    """
    folders = [storage / name for name in dict.fromkeys(names)]
    problems = [
        f"NAME: {folder.name} is no run in {storage}; `sgg runs` lists them"
        for folder in folders
        if folder.parent != storage or folder.is_symlink() or not (folder / "run.json").is_file()
    ]
    if problems:
        raise ConfigError(problems)
    return folders


def remove_runs(storage: Path, names: Sequence[str]) -> list[Path]:
    """Delete run folders with all that is in them; all are checked before the first one goes.

    Raises:
        ConfigError: a name is no run of ``storage``, or another process is writing it.
    """
    folders = removable_runs(storage, names)
    locks = []
    for folder in folders:
        try:
            locks.append(FolderLock(folder))
        except BlockingIOError:
            raise ConfigError(f"NAME: {folder.name} is being written by another process") from None
    for folder in folders:
        shutil.rmtree(folder)
    return folders
