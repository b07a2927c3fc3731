"""The tables of scores and of models as headings and rows of plain cells, for notebooks and pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgg_ray.alignment import AlignmentReport
    from sgg_ray.report.model_result import ModelResult

Cells = tuple[Sequence[str], list[list[str]]]  # headings and rows


def are_numbers(cells: Sequence[str]) -> bool:
    """Whether a column is one of numbers, which are aligned right."""
    return all(cell[0] in "+-–<≈0123456789" for cell in cells if cell)


def scores_cells(report: AlignmentReport) -> Cells:
    """The sources, best first."""
    from sgg_ray.report.tables import score_cells

    level = f"{100 * report.confidence:g} % interval"
    headings = ["source", "rows", "alignment", level, "utility", "share", "verdict"]
    rows = [
        [
            source.source,
            str(source.rows),
            *map(str, score_cells(source.score)),
            f"{100 * source.weight:.0f} %",
            source.verdict,
        ]
        for source in report.ranked()
    ]
    return headings, rows


def results_cells(results: Sequence[ModelResult]) -> Cells:
    """Quality of several models on the same test rows, and their gains over the first."""
    from sgg_ray.evaluation import ClassificationMetrics, PairedComparison
    from sgg_ray.report.kind_tables import kind_table

    other = kind_table(results)
    if other is not None:
        return other.headings, other.rows
    headings = ["model", "accuracy", "95 % interval", "macro-F1", "gain", "95 % interval"]
    rows = []
    for result in results:
        metrics, gain = result.metrics, result.gain
        assert isinstance(metrics, ClassificationMetrics)
        assert gain is None or isinstance(gain, PairedComparison)
        rows.append(
            [
                result.name,
                f"{100 * metrics.accuracy:.1f} %",
                f"{100 * metrics.accuracy_low:.1f} … {100 * metrics.accuracy_high:.1f}",
                f"{100 * metrics.macro_f1:.1f} %",
                f"{100 * gain.difference:+z.1f}" if gain else "",
                f"{100 * gain.low:+z.1f} … {100 * gain.high:+z.1f}" if gain else "",
            ]
        )
    if results and isinstance(results[0].metrics, ClassificationMetrics):
        rows.insert(0, ["majority class", f"{100 * results[0].metrics.majority:.1f} %", "", "", "", ""])
    return headings, rows
