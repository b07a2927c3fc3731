"""The scores of rows as a table: written to the run folder, read again, exported as a cleaned file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sgg_ray.artifacts.formulas import without_formulas
from sgg_ray.artifacts.table_writer import check_output, table_writer
from sgg_ray.errors import ConfigError
from sgg_ray.tasks import in_one

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from sgg_ray.scoring import TaskRows

ROWS = "rows.parquet"
PART_ROWS = 65_536  # lines that are written at once
SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "role": pa.string(),
        "row": pa.int64(),
        "text": pa.string(),
        "label": pa.string(),
        "alignment": pa.float32(),
        "influence": pa.float32(),
        "p_wrong": pa.float32(),
        "suspect": pa.bool_(),
        "suggested": pa.string(),
        "duplicate_of": pa.int32(),
        "outlying": pa.float32(),
        "against": pa.list_(pa.int16()),
        "weight": pa.float64(),
    }
)


def write_rows(
    path: Path, found: Mapping[str, TaskRows], weighting: str = "none", share: float = 1.0
) -> None:
    """Write one line a row of the target's shots and of every source, in the order of the tasks and of their rows.

    No more than PART_ROWS lines are in memory beside the scores.

    Args:
        path: of the Parquet file, which is whole or not there.
        weighting: ``alignment.row_weighting``, by which sources' rows are drawn in training.
        share: ``alignment.row_share``.
    """
    with table_writer(path, SCHEMA) as writer:
        for one in found.values():
            weights = _weights(one, weighting, share)
            for start in range(0, len(weights), PART_ROWS):
                writer.write(_table(one, np.arange(start, min(start + PART_ROWS, len(weights))), weights))


def shown_rows(
    found: Mapping[str, TaskRows], most: int, weighting: str = "none", share: float = 1.0
) -> pd.DataFrame:
    """The lines of the target's shots, and of each source the ``most`` whose labels are likeliest wrong."""
    tables = []
    for one in found.values():
        rows = np.arange(len(one.wrong))
        if one.task.role == "source":
            rows = np.sort(np.lexsort((one.influence, -one.wrong))[:most])
        tables.append(_table(one, rows, _weights(one, weighting, share)))
    return pa.concat_tables(tables).to_pandas()


def numbers_of(one: TaskRows) -> pd.DataFrame:
    """A task's columns without texts, for counts."""
    import pandas as pd

    return pd.DataFrame(
        {
            "task": one.task.name,
            "role": one.task.role,
            "alignment": one.alignment,
            "p_wrong": one.wrong,
            "suspect": one.suspects,
            "duplicate_of": one.duplicate_of,
            "outlying": one.outlying,
        }
    )


def _weights(one: TaskRows, weighting: str, share: float) -> np.ndarray:
    return one.weights(weighting if one.task.role == "source" else "none", share)


def _table(found: TaskRows, rows: np.ndarray, weights: np.ndarray) -> pa.Table:
    task, own = found.task, found.task.train
    given, likeliest = own.labels[rows], found.suggested[rows]
    names = pa.array(task.labels, pa.string())
    labels = [own.completions[row] for row in rows] if task.generates else names.take(pa.array(given))
    other = (likeliest >= 0) & (likeliest != given)
    against = found.against[rows]
    ends = np.concatenate([[0], np.cumsum((against >= 0).sum(axis=1))]).astype(np.int32)
    columns = {
        "task": [task.name] * len(rows),
        "role": [task.role] * len(rows),
        "row": rows,
        "text": [in_one(own.texts[int(row)]) for row in rows],
        "label": labels,
        "alignment": found.alignment[rows],
        "influence": found.influence[rows],
        "p_wrong": found.wrong[rows],
        "suspect": found.suspects[rows],
        "suggested": names.take(pa.array(np.where(other, likeliest, 0), mask=~other)),
        "duplicate_of": found.duplicate_of[rows],
        "outlying": found.outlying[rows],
        "against": pa.ListArray.from_arrays(ends, against[against >= 0]),
        "weight": weights[rows],
    }
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def read_rows(folder: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table that a run has written.

    Args:
        columns: those to read; None for all.

    Raises:
        ConfigError: the run has none, or it cannot be read.
    """
    import pandas as pd

    path = folder / ROWS
    if not path.is_file():
        raise ConfigError(f"RUN: {folder} has no scores of rows; make them with `sgg score CONFIG --rows`")
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except (OSError, ValueError) as error:
        raise ConfigError(f"RUN: {path} cannot be read ({error}); score the rows again") from error


def worst_rows(frame: pd.DataFrame, source: str | None = None) -> pd.DataFrame:
    """Rows with those whose label is likeliest wrong first; of one task, if it is named.

    Raises:
        ConfigError: there is no such task.
    """
    if source is not None:
        names = list(dict.fromkeys(frame["task"]))
        if source not in names:
            raise ConfigError(
                f"--source: there is no task '{source}' in this run; it has: {', '.join(names)}"
            )
        frame = frame[frame["task"] == source]
    return frame.sort_values(["p_wrong", "influence"], ascending=[False, True], kind="stable")


def export_rows(
    frame: pd.DataFrame, path: Path, source: str | None, raw: bool, overwrite: bool
) -> dict[str, Any]:
    """Write the rows that are neither suspects nor duplicates, with their weights, as CSV, JSON lines or Parquet.

    Args:
        frame: by :func:`read_rows`.
        source: name of a task; None for all sources.
        raw: leave cells that a spreadsheet takes for formulas as they are.

    Returns:
        Counts: rows kept, suspects, duplicates and marked cells.

    Raises:
        ConfigError: the file cannot be written, or there is no such task.
    """
    check_output(path, "--export", overwrite)
    chosen = worst_rows(frame, source).sort_index() if source else frame[frame["role"] == "source"]
    double = chosen["duplicate_of"] >= 0
    kept = chosen[~chosen["suspect"] & ~double]
    columns = kept[["text", "label", "task"]].assign(weight=1 - kept["p_wrong"])
    table, marked = pa.Table.from_pandas(columns, preserve_index=False), 0
    if path.suffix.lower() == ".csv" and not raw:
        table, marked = without_formulas(table)
    with table_writer(path, table.schema) as writer:
        writer.write(table)
    suspected = int(chosen["suspect"].sum())
    return {
        "rows": len(kept),
        "suspects": suspected,
        "duplicates": int((double & ~chosen["suspect"]).sum()),
        "marked": marked,
    }
