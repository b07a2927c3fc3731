"""The store behind an MLflow address: reach it, open an experiment and a run, say what is wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.config import resolved
from sgg_ray.errors import ClusterError
from sgg_ray.secrets import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_BATCH_PARAMETERS = 100  # most that one log_batch request may hold
_PARAMETER_LENGTH = 6000
_KEY_LENGTH = 250
_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development"
}  # else the UI opens as one for agents
_INVALID_KEY = re.compile(r"[^\w\-. /:]")

# MLflow's own defaults wait minutes for a server that is gone. Values that a user has set are kept.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the tracker retries by itself, without waiting
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout may be kept for JSON
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def connect(uri: str) -> MlflowClient:
    """A client that is quiet and gives up soon. Nothing is sent yet."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # After the import, which sets levels of its own.
    for name in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It prints the traceback of what it raises too; the tracker says it in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=resolved(uri, "tracking.uri"))


@contextmanager
def database_to_itself(uri: str) -> Iterator[None]:
    """Let one process at a time make a sqlite database: several at once leave it broken (MLflow 3.17)."""
    folder = _sqlite_folder(uri)
    if folder is None or sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        file = sqlite_file(uri)
        new = file is not None and not (file.exists() and file.stat().st_size)
        try:
            yield
        except BaseException:
            if new and file is not None and file.exists():
                os.truncate(file, 0)  # half of a schema, as on a full disk, cannot be completed later
            raise
    finally:
        os.close(handle)


def sqlite_file(uri: str) -> Path | None:
    """The file of a sqlite address; None for other addresses."""
    address = resolved(uri, "tracking.uri")
    return Path(address.removeprefix("sqlite:///")) if address.startswith("sqlite:///") else None


def _sqlite_folder(uri: str) -> Path | None:
    """Where the database of a sqlite address lies, made if missing; None for other addresses."""
    file = sqlite_file(uri)
    if file is None:
        return None
    folder = file.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Id of the experiment, made when missing. Raises ClusterError when it was deleted."""
    found = client.get_experiment_by_name(name)
    if found is None:
        # MLflow's own default is in the current directory of whoever starts first.
        folder = _sqlite_folder(uri)
        return client.create_experiment(
            name, artifact_location=folder and (folder / "mlruns").as_uri(), tags=_EXPERIMENT_TAGS
        )
    if found.lifecycle_stage == "deleted":
        raise ClusterError(
            f"tracking.experiment: {name!r} was deleted at {redacted(uri)}; choose another name, or "
            f"restore it with `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return found.experiment_id


def open_run(
    client: MlflowClient, experiment_id: str, name: str, tags: dict[str, str], run_id: str | None
) -> str:
    """Id of a running run: ``run_id`` if the store still has it, else a new one."""
    from mlflow.exceptions import MlflowException

    if run_id is not None:
        try:
            if client.get_run(run_id).info.lifecycle_stage == "active":
                client.update_run(run_id, status="RUNNING")
                return run_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return client.create_run(experiment_id, run_name=name, tags=tags).info.run_id


def monitor_system(uri: str, run_id: str) -> SystemMetricsMonitor:
    """A thread that logs how busy this machine is every ten seconds; a run that goes on continues its curves."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Log nested parameters under dotted keys; those that the run has already stay as they are."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    entries = [Param(key, value[:_PARAMETER_LENGTH]) for key, value in _flatten(params) if key not in known]
    for start in range(0, len(entries), _BATCH_PARAMETERS):
        client.log_batch(run_id, params=entries[start : start + _BATCH_PARAMETERS])


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{key}.")
        elif isinstance(value, Sequence) and value and all(isinstance(item, Mapping) for item in value):
            # Sources are known by their names, which stay when the list is put in another order.
            yield from _flatten({str(item.get("name", i)): item for i, item in enumerate(value)}, f"{key}.")
        else:
            yield valid_key(key), str(value)


def valid_key(key: str) -> str:
    """The key with what MLflow does not allow in one replaced or cut off."""
    return _INVALID_KEY.sub("_", key)[:_KEY_LENGTH]


def reason(error: BaseException) -> str:
    """One short line: the innermost cause says what went wrong, the outer ones only where."""
    while (inner := error.__cause__ or error.__context__) is not None and " " in str(inner):  # no bare key
        error = inner
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return textwrap.shorten(redacted(lines[0]), 240, placeholder=" …")
