"""The rows that a run saw, as MLflow's data sets: their names, sizes and digests, not the rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_DIGEST_LENGTH = 36  # most that MLflow keeps
_NAME_LENGTH = 500


@dataclass(frozen=True)
class TrackedDataset:
    """Rows of one task and what they were for.

    Attributes:
        source: path or URI of the file, without passwords.
        digest: hash of texts and labels; equal digests are equal rows.
        columns: what a row holds, by type in MLflow's words (``string``, ``long``).
    """

    name: str
    source: str
    digest: str
    rows: int
    context: Literal["training", "source", "test"]
    columns: tuple[tuple[str, str], ...]

    @property
    def key(self) -> tuple[str, str]:
        """Name and digest as MLflow stores them."""
        return self.name[:_NAME_LENGTH], self.digest[:_DIGEST_LENGTH]


def as_input(dataset: TrackedDataset) -> DatasetInput:
    """What MLflow takes as an input of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name, digest = dataset.key
    columns = [{"name": column, "type": kind, "required": True} for column, kind in dataset.columns]
    return DatasetInput(
        Dataset(
            name,
            digest,
            source_type="local" if "://" not in dataset.source else dataset.source.partition("://")[0],
            source=json.dumps({"uri": dataset.source}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": dataset.rows}),
        ),
        tags=[InputTag("mlflow.data.context", dataset.context)],
    )
