"""Results as they look in a notebook."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from sgg_ray.report.cells import are_numbers, results_cells, scores_cells

if TYPE_CHECKING:
    from sgg_ray.alignment import AlignmentReport
    from sgg_ray.config import TuneConfig
    from sgg_ray.evaluation import Trial
    from sgg_ray.report.comparison_tables import Comparison
    from sgg_ray.report.model_result import ModelResult


def html_page(title: str, *parts: str) -> str:
    """A title and tables or pictures below it."""
    return f"<div><p><b>{escape(title)}</b></p>{''.join(parts)}</div>"


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; what stands in it is escaped. Columns of numbers are aligned right, whatever the page's own style."""
    columns = [[row[place] for row in rows] for place in range(len(headings))]
    sides = ["right" if are_numbers(column) else "left" for column in columns]
    lines = [_html_row("th", headings, sides), *(_html_row("td", row, sides) for row in rows)]
    return f'<table style="border-collapse: collapse; margin: 8px 0">{"".join(lines)}</table>'


def _html_row(kind: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    parts = [
        f'<{kind} style="padding: 2px 10px; text-align: {side}; white-space: nowrap">{escape(cell)}</{kind}>'
        for cell, side in zip(cells, sides)
    ]
    return f"<tr>{''.join(parts)}</tr>"


def html_picture(path: Path) -> str:
    """A PNG file inside the page, so that a saved notebook keeps it; nothing if there is none."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    style = "display: block; margin: 8px 0; max-width: min(100%, 800px)"
    return f'<img alt="{escape(path.stem)}" style="{style}" src="data:image/png;base64,{data}">'


def html_scores(report: AlignmentReport) -> str:
    """The ranked sources as an HTML table."""
    return html_table(*scores_cells(report))


def html_results(results: Sequence[ModelResult]) -> str:
    """Quality of several models on the same test rows, and their gains over the first."""
    return html_table(*results_cells(results))


def html_comparison(comparison: Comparison) -> str:
    """The main table of a comparison, and what it shows."""
    headings, rows = comparison.accuracies()
    return html_table(headings, rows) + _html_lines([comparison.caption(), *comparison.conclusion()])


def html_sweep(trials: Sequence[Trial], settings: TuneConfig) -> str:
    """The best trials of a sweep, and what it shows."""
    from sgg_ray.report.sweep_plots import conclusion, sweep_table

    headings, rows = sweep_table(trials, settings)
    return html_table(headings, rows) + _html_lines(conclusion(trials, settings))


def _html_lines(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines if line)
