"""Predicted numbers beside the columns of a table, and how good they are over as many tables as come."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.evaluation import spearman
from sgg_ray.prediction.columns import PREDICTED
from sgg_ray.prediction.table import Reading
from sgg_ray.tasks import with_points

if TYPE_CHECKING:
    import pyarrow as pa

MOST_RANKED = 1_000_000  # rows that the rank correlation is made from: it needs all of them at once


@dataclass(frozen=True)
class NumberReading(Reading):
    """Which columns of a file hold texts, and true numbers if there are any."""

    label: str | None

    def truth(self, table: "pa.Table") -> np.ndarray:
        """The number of each row [n]; NaN where there is none."""
        values = table.column(self.label).to_pylist() if self.label else [None] * table.num_rows
        return np.array([_number(value) for value in with_points(values)[0]])


def _number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan


class NumberTally:
    """What the numbers of many tables come to."""

    def __init__(self, reading: NumberReading):
        self.reading = reading
        self.rows = self.without_text = self.compared = 0
        self.absolute = self.squared = self.total = 0.0
        self._pairs: list[np.ndarray] = []
        self._ranked = 0

    def add(self, table: "pa.Table") -> None:
        """Count the rows of a table with predictions."""
        said = np.array(
            [math.nan if value is None else value for value in table.column(PREDICTED).to_pylist()]
        )
        self.rows += len(said)
        self.without_text += int(np.isnan(said).sum())
        self.total += float(np.nansum(said))
        true = self.reading.truth(table)
        known = np.isfinite(said) & np.isfinite(true)
        error = said[known] - true[known]
        self.compared += len(error)
        self.absolute += float(np.abs(error).sum())
        self.squared += float((error**2).sum())
        if self._ranked < MOST_RANKED:
            self._pairs.append(np.stack([said[known], true[known]]))
            self._ranked += len(error)

    def to_dict(self) -> dict[str, Any]:
        """Counts, and metrics where rows have numbers, for JSON."""
        labelled = self.rows - self.without_text
        found: dict[str, Any] = {
            "rows": self.rows,
            "without_text": self.without_text,
            "mean_predicted": self.total / labelled if labelled else None,
            "metrics": None,
        }
        if self.compared:
            said, true = np.concatenate(self._pairs, axis=1)
            found["metrics"] = {
                "mae": self.absolute / self.compared,
                "rmse": math.sqrt(self.squared / self.compared),
                "spearman": spearman(said, true),
                "rows": self.compared,
            }
        return found
