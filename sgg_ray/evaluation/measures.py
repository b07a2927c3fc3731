"""What the metrics of every kind of task have in common, and their paired differences."""

from __future__ import annotations

from typing import Any, Protocol


class Metrics(Protocol):
    """How good one model is on one set of rows."""

    @property
    def rows(self) -> int:
        """How many rows were measured."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        ...

    def numbers(self) -> dict[str, float]:
        """The numbers that are logged, by name: of classification ``accuracy`` and ``macro_f1``."""
        ...

    def of_cell(self) -> dict[str, float]:
        """What a comparison of strategies keeps: ``accuracy`` (what cells are ranked by), ``macro_f1``, and others."""
        ...


class Comparison(Protocol):
    """A model minus a baseline on the same rows."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        ...

    def gains(self) -> dict[str, float]:
        """Differences that are logged, by the name of the metric; above 0 is better."""
        ...
