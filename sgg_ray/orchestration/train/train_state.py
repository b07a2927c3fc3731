"""What Ray Train has left of a training that was stopped."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train

from sgg_ray.artifacts import RunFolder, StorageFolder
from sgg_ray.bounded import parse_json
from sgg_ray.errors import CheckpointError
from sgg_ray.orchestration.lifecycle import refuse_other_rows
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.score.score_driver import SCORES, stored_report
from sgg_ray.orchestration.train.history import saved_histories
from sgg_ray.training import check_training_state, holds_predictions

SNAPSHOT = "checkpoint_manager_snapshot.json"  # what Ray 2.60 resumes from
TRAIN_STATE = "ray_train"  # Ray Train's own folder inside the run folder; removed when the run is finished


@dataclass(frozen=True)
class StoredCheckpoint:
    """The last checkpoint that Ray Train knows of: its folder's name, and the steps that it is after."""

    name: str
    step: int


def stored_checkpoint(state: StorageFolder) -> StoredCheckpoint | None:
    """What a training would be resumed from; None if there is no checkpoint, or while the snapshot is being written."""
    try:
        latest = _latest(state)
    except (OSError, ValueError):
        return None
    if latest is None:
        return None
    return StoredCheckpoint(latest["checkpoint_dir_name"], int((latest.get("metrics") or {}).get("step", 0)))


def check_resumable(folder: RunFolder, content: str) -> None:
    """Whether an unfinished training can go on: with the same rows, scores and last checkpoint that can be read.

    Raises:
        SggError: it cannot (exit 2).
    """
    refuse_other_rows(folder, content)
    if (folder.path / SCORES).exists():
        stored_report(folder)
    state = folder.state(TRAIN_STATE)
    try:
        latest = _latest(state)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"name: the snapshot in {state.path} cannot be read ({error}); delete the run folder or give the run "
            "another --name"
        ) from error
    if latest is None or state.filesystem is not None:
        return  # in an object store a file is whole or not there
    checkpoint = Path(state.path) / latest["checkpoint_dir_name"]
    if not holds_predictions(checkpoint):
        check_training_state(checkpoint)
    saved_histories(checkpoint)


def _latest(state: StorageFolder) -> dict[str, Any] | None:
    """The last checkpoint in Ray's snapshot; none if there is none, or no whole snapshot in a local folder."""
    try:
        snapshot = parse_json(state.read(SNAPSHOT) or b"{}")
        if not isinstance(snapshot, dict):
            raise ValueError("it holds no JSON object")
        latest = snapshot.get("latest_checkpoint_result")
        if latest is not None and not (isinstance(latest, dict) and "checkpoint_dir_name" in latest):
            raise ValueError("it names no checkpoint")
        return latest
    except ValueError:
        if state.filesystem is not None:
            raise
        return None


def last_whole(state: StorageFolder, listener: Listener) -> ray.train.Checkpoint | None:
    """Ray 2.60 writes its snapshot over the last one, so that a full disk leaves half of one; checkpoints stay."""
    if state.filesystem is not None or _latest(state) is not None:
        return None
    Path(state.path, SNAPSHOT).unlink(missing_ok=True)
    for folder in sorted(Path(state.path).glob("checkpoint_*"), reverse=True):
        with suppress(CheckpointError):
            check_training_state(folder)
            saved_histories(folder)
            listener.note(
                f"Ray's snapshot in {state.path} is damaged; resuming from the last complete checkpoint"
            )
            return ray.train.Checkpoint.from_directory(folder)
    return None
