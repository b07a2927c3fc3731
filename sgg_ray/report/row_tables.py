"""What is printed of the scores of rows: counts of each task, and the rows whose labels are likeliest wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from sgg_ray.report.console import print_line, print_table
from sgg_ray.report.rows_page import row_counts

if TYPE_CHECKING:
    import pandas as pd

TEXT_WIDTH = 80  # characters of a text in a table


def print_row_counts(console: Console, frame: pd.DataFrame) -> None:
    """A line a task: rows, rows that are likely wrong, duplicates, outliers.

    Args:
        frame: the rows of a run, or those of one task.
    """
    rows = [
        [
            one["task"],
            f"{one['rows']:,}",
            f"{one['suspects']:,}",
            f"{100 * one['wrong_share']:.1f} %",
            f"{one['duplicates']:,}",
            f"{one['outliers']:,}",
            f"{one['alignment']:+.2f}",
            one["role"],
        ]
        for one in row_counts(frame)
    ]
    headings = ["task", "rows", "likely wrong", "expected", "duplicates", "outliers", "alignment", "role"]
    print_table(console, headings, rows)
    shots = [one for one in row_counts(frame) if one["role"] == "target" and one["suspects"]]
    for one in shots:
        some = "1 looks" if one["suspects"] == 1 else f"{one['suspects']} look"
        print_line(console, f"of your {one['rows']} shots {some} wrong; see the table", style="yellow")


def print_worst_rows(console: Console, frame: pd.DataFrame, most: int) -> None:
    """The first rows of a table that is sorted, the likeliest wrong first."""
    rows = [
        [
            row["task"],
            str(row["row"]),
            f"{100 * row['p_wrong']:.0f} %",
            _labels(str(row["label"]), row["suggested"]),
            f"{row['alignment']:+.2f}",
            _short(row["text"]),
        ]
        for row in frame.head(most).to_dict("records")
    ]
    print_table(console, ["task", "row", "wrong", "label", "alignment", "text"], rows)


def _labels(label: str, suggested: object) -> str:
    return f"{_short(label)} → {_short(suggested)}?" if isinstance(suggested, str) else _short(label)


def _short(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= TEXT_WIDTH else f"{line[: TEXT_WIDTH - 1]}…"
