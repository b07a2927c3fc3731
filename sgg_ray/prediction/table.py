"""Predictions beside the columns of a table, and metrics over as many tables as come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.config import label_name
from sgg_ray.evaluation import OrdinalMetrics, Reliability, metrics_of
from sgg_ray.prediction.predictor import Predictor
from sgg_ray.tasks import Text, joined_texts

if TYPE_CHECKING:
    import pyarrow as pa

MOST_UNKNOWN = 5  # values that are named


@dataclass(frozen=True)
class Reading:
    """Which columns of a file hold the texts."""

    texts: tuple[str, ...]

    def predict(self, predictor: Predictor, table: "pa.Table") -> "pa.Table":
        """The table with the columns of the predictions at its end.

        Raises:
            DataError: the column with the texts holds lists or objects.
        """
        import pyarrow as pa

        found = predictor.predict(self.rows_of(table))
        for name, holds in predictor.columns.items():
            kind = pa.string() if holds == "text" else pa.float64()
            table = table.append_column(name, pa.array(found[name], type=kind, from_pandas=True))
        return table

    def rows_of(self, table: "pa.Table") -> list[Text]:
        """The text of each row, one or several fields."""
        columns = [table.column(name).to_pandas().rename(name) for name in self.texts]
        return joined_texts(columns, "--text", "the data")[0]


@dataclass(frozen=True)
class Labelling(Reading):
    """Which columns of a file hold what: texts, and true labels if there are any."""

    label: str | None
    names: Mapping[str, str]  # label name by value in the file
    ordinal: bool = False  # the labels have an order

    def truth(self, table: "pa.Table") -> list[str | None]:
        """The label name of each row; None where there is none, or one that the model does not know."""
        values = table.column(self.label).to_pylist() if self.label else [None] * table.num_rows
        return [None if value is None else self.names.get(label_name(value)) for value in values]


class Tally:
    """What the predictions of many tables come to, in memory that does not grow with them."""

    def __init__(self, labels: tuple[str, ...], labelling: Labelling):
        self.labels, self.labelling = labels, labelling
        self.rows = self.without_text = 0
        self.unknown: dict[
            str, int
        ] = {}  # values in place of a label that the model does not know, and of how many rows
        self.unknown_more = 0  # rows with still other values
        self.predicted = dict.fromkeys(labels, 0)
        self.confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
        self.reliability = Reliability()

    def add(self, table: "pa.Table") -> None:
        """Count the rows of a table with predictions."""
        number = {name: position for position, name in enumerate(self.labels)}
        predicted = table.column("predicted").to_pylist()
        truth = self.labelling.truth(table)
        for name in predicted:
            if name is not None:
                self.predicted[name] += 1
        self.rows += len(predicted)
        self.without_text += predicted.count(None)
        self._count_unknown(table)
        known = [row for row, pair in enumerate(zip(truth, predicted)) if None not in pair]
        if known:
            true = np.array([number[truth[row]] for row in known])  # pyright: ignore[reportArgumentType]
            guess = np.array([number[predicted[row]] for row in known])
            np.add.at(self.confusion, (true, guess), 1)
            confidence = table.column("confidence").take(known).to_numpy()
            self.reliability.add(confidence, true == guess)

    def _count_unknown(self, table: "pa.Table") -> None:
        values = table.column(self.labelling.label).to_pylist() if self.labelling.label else []
        for value in map(label_name, filter(lambda value: value is not None, values)):
            if value and value not in self.labelling.names:
                if value in self.unknown or len(self.unknown) < MOST_UNKNOWN:
                    self.unknown[value] = self.unknown.get(value, 0) + 1
                else:
                    self.unknown_more += 1

    def to_dict(self) -> dict[str, Any]:
        """Counts, and metrics where rows carry labels, for JSON."""
        found: dict[str, Any] = {
            "rows": self.rows,
            "without_text": self.without_text,
            "predicted": self.predicted,
            "unknown_labels": self.unknown | ({"…": self.unknown_more} if self.unknown_more else {}),
            "metrics": None,
        }
        if self.confusion.any():
            metrics = metrics_of(self.confusion)
            metrics = OrdinalMetrics.of(metrics) if self.labelling.ordinal else metrics
            found["metrics"] = {**metrics.to_dict(), "ece": self.reliability.error}
        return found
