"""The run's record in MLflow.

Tracking is a convenience: everything it holds is in the run folder too. So a server that goes away in
mid-run delays what is sent and never stops the training, while an address that is wrong from the start is an
error before anything else begins.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.errors import ClusterError, SggError
from sgg_ray.secrets import redacted
from sgg_ray.tracking.datasets import TrackedDataset, as_input
from sgg_ray.tracking.logged_model import TrainedModel, log_model
from sgg_ray.tracking.store import (
    connect,
    database_to_itself,
    log_params,
    monitor_system,
    open_experiment,
    open_run,
    reason,
)
from sgg_ray.tracking.traced_answers import TracedAnswers, trace_answers
from sgg_ray.tracking.unsent_metrics import UnsentMetrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0  # seconds without an attempt after a failure; doubles each time


class Tracker:
    """One MLflow run. Made by ``Tracker.start``; used by one process."""

    def __init__(
        self,
        client: MlflowClient,
        uri: str,
        run_id: str | None,
        experiment_id: str,
        on_problem: Callable[[str], None] | None = None,
        *,
        new: bool,
    ):
        self.uri = redacted(uri)  # for messages
        self.run_id = run_id
        self.experiment_id = experiment_id
        self._client = client
        self._on_problem = on_problem or _warn
        self._metrics = UnsentMetrics(client, new)
        self._files: list[tuple[Path, str | None]] = []
        self._models: list[TrainedModel] = []
        self._model_id: str | None = None  # of the last one that was logged
        self._monitor: SystemMetricsMonitor | None = None
        self._tags: dict[str, str] = {}
        self._start: tuple[str, Mapping[str, Any], dict[str, str]] | None = None  # of a run not opened yet
        self._pause = _FIRST_PAUSE
        self._retry_at = 0.0
        self._told = False

    @classmethod
    def start(
        cls,
        uri: str,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        on_problem: Callable[[str], None] | None = None,
        datasets: Sequence[TrackedDataset] = (),
        system_metrics: bool = False,
    ) -> Tracker:
        """Open the experiment (made when missing) and start a run in it, or go on with ``run_id``.

        ``params`` may be nested; they are logged flat under dotted keys. A run that is no longer in the
        store, because it or the database was deleted, is replaced by a new one. ``on_problem`` takes the one
        line that is said when MLflow fails later on; by default it is a RuntimeWarning.

        Args:
            datasets: the run's inputs.
            system_metrics: also log CPU, memory, disk, network and GPUs of this machine, until :meth:`finish`.

        Raises ClusterError when the store at ``uri`` cannot be used.
        """
        if not uri.strip():
            raise ClusterError("tracking.uri: is empty; use a database such as sqlite:///mlflow.db")
        try:
            with database_to_itself(uri):
                client = connect(uri)
                experiment_id = open_experiment(client, uri, experiment)
            before = run_id
            run_id = open_run(client, experiment_id, run_name, dict(tags or {}), before)
            log_params(client, run_id, params or {})
            if datasets:
                client.log_inputs(run_id, [as_input(dataset) for dataset in datasets])
        except SggError:
            raise
        except Exception as error:
            why = reason(error)
            advice = "start the server, or set tracking.uri to a database such as sqlite:///mlflow.db"
            if "disk is full" in why:
                advice = "free some of the disk, and give the same command again"
            raise ClusterError(
                f"tracking.uri: cannot use MLflow at {redacted(uri)}: {why}; {advice}"
            ) from error
        tracker = cls(client, uri, run_id, experiment_id, on_problem, new=run_id != before)
        if system_metrics:
            tracker._monitor = monitor_system(client.tracking_uri, run_id)
        return tracker

    def child(
        self, run_name: str, params: Mapping[str, Any], tags: Mapping[str, str], run_id: str | None = None
    ) -> Tracker:
        """A run below this one, or go on with ``run_id``. Opened when MLflow answers: until then records wait."""
        tracker = Tracker(
            self._client, self.uri, run_id, self.experiment_id, self._on_problem, new=run_id is None
        )
        tracker._start = (run_name, params, {**tags, "mlflow.parentRunId": str(self.run_id)})
        tracker._flush()
        return tracker

    def log_metrics(self, points: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Send metrics of several steps at once: (step, {name: value}) pairs.

        Values that are None, not finite or no numbers are left out, and so is one that the store has as the last of
        its metric.
        """
        self._metrics.add(points)
        self._flush()

    def log_curve(self, points: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Send metrics whose steps rise; points that are not beyond the last one in the store are left out.

        So a curve may be told from its beginning again, by a run that goes on or a training that started over: the
        store gets what it lacks and nothing twice.
        """
        self._metrics.add_curve(points)
        self._flush()

    def log_artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Copy one file, or a folder's content, into the run's artifacts (below ``folder`` there)."""
        self._files.append((Path(path), folder))
        self._flush()

    def log_artifacts(self, paths: Iterable[str | Path], folder: str | None = None) -> None:
        """Copy several files into the run's artifacts."""
        self._files.extend((Path(path), folder) for path in paths)
        self._flush()

    def describe(self, text: str) -> None:
        """Set what MLflow shows as the run's description, in Markdown."""
        self._tags["mlflow.note.content"] = text
        self._flush()

    def log_model(self, trained: TrainedModel) -> None:
        """Log a trained model so that MLflow can load, serve and rank it."""
        self._models.append(trained)
        self._flush()

    def log_answers(self, answers: TracedAnswers) -> None:
        """Log answers of the model that was logged last as traces. Tried once: they are in the run folder as well."""
        if self.run_id is None or self._models:
            return  # MLflow does not answer, which has been told
        try:
            uri = str(self._client.tracking_uri)
            trace_answers(uri, self.experiment_id, self.run_id, answers, self._model_id)
        except Exception as error:
            self._on_problem(f"MLflow at {self.uri} did not take the answers as traces: {reason(error)}")

    def finish(self, status: str = "finished") -> bool:
        """Send what is left, end the run (``finished``, ``failed``, ``killed``); False if MLflow failed."""
        self._retry_at = 0.0
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        self._flush()
        files = len(self._files) + len(self._models)
        unsent = len(self._metrics)
        if self.run_id is None or unsent or files or self._tags:
            self._on_problem(
                f"MLflow at {self.uri} did not take {unsent} metrics and {files} "
                f"artifacts of run {self.run_id}; they are in the run folder"
            )
            return False
        try:
            self._client.set_terminated(self.run_id, status.upper())
        except Exception as error:
            self._on_problem(
                f"MLflow at {self.uri} still shows run {self.run_id} as running, it failed: {reason(error)}"
            )
            return False
        return True

    def _flush(self) -> None:
        """Send what is pending, oldest first; on failure keep it and stay away from the store for a while."""
        if time.monotonic() < self._retry_at:
            return
        try:
            run_id = self._open_run()
            for key in list(self._tags):
                self._client.set_tag(run_id, key, self._tags[key])
                del self._tags[key]
            self._metrics.send(run_id)
            while self._files:
                self._send(run_id, *self._files[0])
                del self._files[0]
            while self._models:
                self._model_id = log_model(self._client, run_id, self.experiment_id, self._models[0])
                del self._models[0]
        except Exception as error:
            if not self._told:
                self._told = True
                self._on_problem(
                    f"MLflow at {self.uri} failed: {reason(error)}; the run continues; its records are kept "
                    "and sent when MLflow answers again"
                )
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2.0 * self._pause, _LONGEST_PAUSE)
        else:
            self._pause = _FIRST_PAUSE

    def _open_run(self) -> str:
        """Id of the run; a child's is opened here, and again until its parameters have arrived too."""
        if self._start is not None:
            name, params, tags = self._start
            self.run_id = open_run(self._client, self.experiment_id, name, tags, self.run_id)
            log_params(self._client, self.run_id, params)
            self._start = None
        assert self.run_id is not None
        return self.run_id

    def _send(self, run_id: str, path: Path, folder: str | None) -> None:
        if path.is_dir():
            self._client.log_artifacts(run_id, str(path), artifact_path=folder)
        elif path.exists():
            self._client.log_artifact(run_id, str(path), artifact_path=folder)
        else:  # waiting for it would hold up all others
            self._on_problem(f"{path} is not there and was not sent to MLflow")


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)
