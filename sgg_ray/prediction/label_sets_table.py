"""Predicted sets of labels beside the columns of a table, and how good they are over as many tables as come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.config import label_name
from sgg_ray.evaluation import metrics_of_counts
from sgg_ray.prediction.columns import PREDICTED
from sgg_ray.prediction.table import Reading
from sgg_ray.tasks import labels_in, marked_labels

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class LabelSetReading(Reading):
    """Which columns of a file hold texts, and sets of labels if there are any."""

    label: str | None  # column with lists, or texts such as a|b
    columns: tuple[str, ...]  # or a column of 0 and 1 for each label
    labels: tuple[str, ...]
    names: Mapping[str, str]  # label name by value in the file

    def truth(self, table: "pa.Table") -> list[set[str] | None]:
        """The labels of each row; None where there are none told, or one that the model does not know."""
        if self.columns:
            marks = [table.column(name).to_pylist() for name in self.columns]
            return [marked_labels(self.columns, values) for values in zip(*marks)]
        values = table.column(self.label).to_pylist() if self.label else [None] * table.num_rows
        return [self._named(labels_in(value, self.names)) for value in values]

    def _named(self, found: set[str] | None) -> set[str] | None:
        if found is None or not found <= set(self.names):
            return None
        return {self.names[label_name(name)] for name in found}


class LabelSetTally:
    """What the sets of many tables come to, in memory that does not grow with them."""

    def __init__(self, reading: LabelSetReading):
        self.reading = reading
        self.rows = self.without_text = self.compared = self.whole = 0
        self.predicted = dict.fromkeys(reading.labels, 0)
        self.counts = np.zeros((3, len(reading.labels)), dtype=np.int64)  # right, predicted, true

    def add(self, table: "pa.Table") -> None:
        """Count the rows of a table with predictions."""
        said = [labels_in(value, self.reading.labels) for value in table.column(PREDICTED).to_pylist()]
        self.rows += len(said)
        for own, true in zip(said, self.reading.truth(table)):
            if own is None:
                self.without_text += 1
                continue
            for name in own:
                self.predicted[name] += 1
            if true is None:
                continue
            marks = np.array([[name in own, name in true] for name in self.reading.labels])
            self.counts += np.stack([marks.all(axis=1), *marks.T])
            self.compared += 1
            self.whole += own == true

    def to_dict(self) -> dict[str, Any]:
        """Counts, and metrics where rows have labels, for JSON."""
        found: dict[str, Any] = {
            "rows": self.rows,
            "without_text": self.without_text,
            "predicted": self.predicted,
            "metrics": None,
        }
        if self.compared:
            found["metrics"] = metrics_of_counts(self.counts, self.whole, self.compared).to_dict()
        return found
