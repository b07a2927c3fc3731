"""The scores of rows as a table: written to the run folder, read again, exported as a cleaned file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sgg_ray.artifacts.formulas import without_formulas
from sgg_ray.artifacts.table_writer import check_output, table_writer
from sgg_ray.errors import ConfigError
from sgg_ray.rows import suspects
from sgg_ray.tasks import in_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from sgg_ray.scoring import TaskRows

ROWS = "rows.parquet"


def row_frame(found: Mapping[str, TaskRows], weighting: str = "none", share: float = 1.0) -> pd.DataFrame:
    """One line a row of the target's shots and of every source, in the order of the tasks and of their rows.

    Columns: task, role, row, text, label (or completion), alignment, influence, p_wrong, suspect, suggested,
    duplicate_of, outlying, against, weight.

    Args:
        weighting: ``alignment.row_weighting``, by which sources' rows are drawn in training.
        share: ``alignment.row_share``.
    """
    import pandas as pd

    frames = [
        _task_frame(one, one.weights(weighting if one.task.role == "source" else "none", share))
        for one in found.values()
    ]
    return pd.concat(frames, ignore_index=True)


def _task_frame(found: TaskRows, weights: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    task = found.task
    rows = task.train
    labels = (
        list(rows.completions) if task.generates else [task.labels[int(number)] for number in rows.labels]
    )
    suggested = [
        task.labels[number] if number >= 0 and number != given else None
        for number, given in zip(found.suggested.tolist(), rows.labels.tolist())
    ]
    return pd.DataFrame(
        {
            "task": task.name,
            "role": task.role,
            "row": np.arange(len(rows)),
            "text": [in_one(text) for text in rows.texts],
            "label": labels,
            "alignment": found.alignment,
            "influence": found.influence,
            "p_wrong": found.wrong,
            "suspect": suspects(found.wrong),
            "suggested": pd.Series(suggested, dtype="str"),
            "duplicate_of": found.duplicate_of,
            "outlying": found.outlying,
            "against": found.against,
            "weight": weights,
        }
    )


def read_rows(folder: Path) -> pd.DataFrame:
    """The table that a run has written.

    Raises:
        ConfigError: the run has none, or it cannot be read.
    """
    import pandas as pd

    path = folder / ROWS
    if not path.is_file():
        raise ConfigError(f"RUN: {folder} has no scores of rows; make them with `sgg score CONFIG --rows`")
    try:
        return pd.read_parquet(path)
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
