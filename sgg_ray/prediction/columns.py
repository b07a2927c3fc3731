"""The columns that predictions of each kind of task add to a table."""

from collections.abc import Sequence
from typing import Literal

from sgg_ray.config import Kind

PREDICTED, CONFIDENCE = "predicted", "confidence"
GENERATED = "generated"  # answers

Column = Literal["text", "number"]


def prediction_columns(kind: Kind, labels: Sequence[str]) -> dict[str, Column]:
    """What each column holds, by its name, in order."""
    if kind == "generation":
        return {GENERATED: "text"}
    if kind == "regression":
        return {PREDICTED: "number"}
    found: dict[str, Column] = {PREDICTED: "text", **dict.fromkeys(map(probability_column, labels), "number")}
    return found if kind == "multi_label" else {**found, CONFIDENCE: "number"}


def probability_column(label: str) -> str:
    """Name of the column with a label's probability."""
    return f"p_{label}"
