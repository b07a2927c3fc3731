"""What is told of a model that was evaluated."""

from dataclasses import dataclass

from sgg_ray.evaluation import Comparison, Metrics


@dataclass(frozen=True)
class ModelResult:
    """One model's metrics, and its paired difference to the first model of the table."""

    name: str
    metrics: Metrics
    gain: Comparison | None = None  # over the first model of the table, on the same test rows
    rows: str = "test rows"  # what the metrics are of
