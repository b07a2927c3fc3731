"""Metrics of a run until MLflow has them, each once however often it is told."""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sgg_ray.tracking.store import valid_key

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_BATCH_METRICS = 1000  # most that one log_batch request may hold


class UnsentMetrics:
    """What is still to be sent of a run's metrics, oldest first.

    Args:
        client: of the store.
        new: the run has no metrics yet; another one is asked for them before the first is sent.
    """

    def __init__(self, client: MlflowClient, new: bool):
        self._client = client
        self._curves: list[Metric] = []
        self._values: list[Metric] = []
        # Last (step, value) of each metric in the store; None until it has been asked.
        self._known: dict[str, tuple[int, float]] | None = {} if new else None

    def __len__(self) -> int:
        return len(self._curves) + len(self._values)

    def add(self, points: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Add (step, {name: value}) pairs; what the store has as the last value of its metric is not sent again."""
        self._values.extend(_metrics(points))

    def add_curve(self, points: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Add such pairs with steps that rise; what is not beyond the last step in the store is not sent."""
        self._curves.extend(_metrics(points))

    def send(self, run_id: str) -> None:
        """Send all; what the store has not taken when it fails stays here.

        Raises whatever MLflow raises.
        """
        known = self._in_store(run_id)
        self._send(run_id, self._curves, known, lambda metric, last: metric.step <= last[0])
        self._send(run_id, self._values, known, lambda metric, last: (metric.step, metric.value) == last)

    def _in_store(self, run_id: str) -> dict[str, tuple[int, float]]:
        """Last (step, value) of each metric that the run has."""
        if self._known is None:
            names = self._client.get_run(run_id).data.metrics
            histories = {name: self._client.get_metric_history(run_id, name) for name in names}
            last = {
                name: max(points, key=lambda point: (point.step, point.timestamp))
                for name, points in histories.items()
                if points
            }
            self._known = {name: (int(point.step), float(point.value)) for name, point in last.items()}
        return self._known

    def _send(
        self,
        run_id: str,
        waiting: list[Metric],
        known: dict[str, tuple[int, float]],
        has: Callable[[Metric, tuple[int, float]], bool],
    ) -> None:
        """Send what is ``waiting`` but for metrics of which the store ``has`` enough, given its last (step, value)."""
        while waiting:
            last, new = dict(known), []
            for metric in waiting[:_BATCH_METRICS]:
                if metric.key not in last or not has(metric, last[metric.key]):
                    last[metric.key] = (metric.step, metric.value)
                    new.append(metric)
            if new:
                # Sending a batch twice is harmless: MLflow drops metrics that are equal in all fields.
                self._client.log_batch(run_id, metrics=new)
            known.update(last)
            del waiting[:_BATCH_METRICS]


def _metrics(points: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Metric]:
    """Those of the values that are finite numbers."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(valid_key(name), float(value), now, step)
        for step, values in points
        for name, value in values.items()
        if isinstance(value, numbers.Real) and math.isfinite(value)
    ]
