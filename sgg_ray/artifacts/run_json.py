"""What run.json holds: versions, commit, settings, and how settings of two runs differ."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from sgg_ray.config import Config

_PACKAGES = ("sgg-ray", "torch", "transformers", "peft", "datasets", "ray", "mlflow", "numpy")


def checked_record(content: bytes) -> dict[str, Any]:
    """What run.json holds. Raises ValueError when it is none that was written here."""
    record = json.loads(content)
    if not isinstance(record, dict) or (record and not isinstance(record.get("settings", {}), dict)):
        raise ValueError("not what a run writes")
    return record


def new_record(name: str, config: Config) -> dict[str, Any]:
    """What run.json holds when a run begins."""
    return {
        "name": name,
        "status": "running",
        "started": now(),
        "ended": None,
        "resumed": [],
        "seed": config.seed,
        "mlflow_run_id": None,
        "git": git_state(),
        "versions": _versions(),
        # What a resume is compared with. config.yaml cannot serve: people edit it to replay a run.
        "settings": config.flat(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of the current directory and whether files differ from it; None outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each setting that was another one before."""
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{key} was {before.get(key)!r} and is now {after.get(key)!r}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
