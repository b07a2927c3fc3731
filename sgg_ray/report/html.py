"""Results as they look in a notebook."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgg_ray.alignment import AlignmentReport
    from sgg_ray.report.tables import ModelResult


def html_page(title: str, *parts: str) -> str:
    """A title and tables or pictures below it."""
    from html import escape

    return f"<div><p><b>{escape(title)}</b></p>{''.join(parts)}</div>"


def html_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a table; what stands in them is escaped."""
    import pandas as pd

    return pd.DataFrame(rows).to_html(index=False, escape=True, border=0, na_rep="")


def html_picture(path: Path) -> str:
    """A PNG file inside the page, so that a saved notebook keeps it; nothing if there is none."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{path.stem}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def html_scores(report: AlignmentReport) -> str:
    """The ranked sources."""
    from sgg_ray.report.tables import score_cells

    rows = []
    for source in report.ranked():
        value, interval, ratio = score_cells(source.score)
        rows.append(
            {
                "source": source.source,
                "rows": source.rows,
                "alignment": value,
                f"{100 * report.confidence:g} % interval": interval,
                "norm ratio": ratio,
                "weight": f"{100 * source.weight:.0f} %",
                "verdict": source.verdict,
            }
        )
    return html_table(rows)


def html_results(results: Sequence[ModelResult]) -> str:
    """Quality of several models on the same test rows, and their gains over the first."""
    rows = []
    for result in results:
        metrics, gain = result.metrics, result.gain
        rows.append(
            {
                "model": result.name,
                "accuracy": f"{100 * metrics.accuracy:.1f} %",
                "95 % interval": f"{100 * metrics.accuracy_low:.1f} … {100 * metrics.accuracy_high:.1f}",
                "macro-F1": f"{100 * metrics.macro_f1:.1f} %",
                "gain": f"{100 * gain.difference:+.1f}" if gain else "",
                "of the gain": f"{100 * gain.low:+.1f} … {100 * gain.high:+.1f}" if gain else "",
            }
        )
    return html_table(rows)
