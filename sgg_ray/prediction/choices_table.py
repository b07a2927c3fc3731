"""Choices of a table's rows: read beside the texts, so that predictions are made of both."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sgg_ray.prediction.table import Labelling
from sgg_ray.tasks import Text, choices_in, parts_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ChoiceReading(Labelling):
    """Which columns of a file hold texts, choices (one column for each, or one with lists), and the right one."""

    choices: tuple[str, ...] = ()

    def rows_of(self, table: "pa.Table") -> list[Text]:
        """The fields of each row's text, and its choices."""
        columns = [table.column(name).to_pylist() for name in self.choices]
        found = [choices_in(values) for values in zip(*columns)]
        return [(*parts_of(text), *own) for text, own in zip(super().rows_of(table), found)]
