"""One page to look through the rows of a pool: what is likely wrong first, and which shots speak against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from sgg_ray.rows import OUTLYING

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 200  # of a task on the page; all are in the table
MOST_CHARACTERS = 600
STYLE = """
:root { color-scheme: light dark; --line: #8885; --mute: #777; --bad: #b3261e; --warn: #8a5a00 }
@media (prefers-color-scheme: dark) { :root { --mute: #aaa; --bad: #ff8a80; --warn: #ffcc66 } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem; margin-top: 2.5rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { padding: .2rem .8rem .2rem 0; text-align: right } th:first-child, td:first-child { text-align: left }
article { border-top: 1px solid var(--line); padding: .7rem 0 }
p { margin: .2rem 0; overflow-wrap: anywhere; white-space: pre-wrap }
.mute { color: var(--mute); font-size: .88rem } .bad { color: var(--bad) } .warn { color: var(--warn) }
details { font-size: .92rem } summary { cursor: pointer; color: var(--mute) }
"""


def rows_page(frame: pd.DataFrame, counts: Sequence[Mapping[str, Any]], title: str) -> str:
    """A self-contained HTML page; texts and names are escaped.

    Args:
        frame: the shots of the target, and of each source MOST_ROWS rows at least, by ``artifacts.row_table``.
        counts: of each task, by :func:`row_counts`, in the order in which they are shown.
        title: of the page.
    """
    shots = frame[frame["role"] == "target"].reset_index(drop=True)
    groups = [
        _task(frame[frame["task"] == one["task"]], one["rows"], number, shots)
        for number, one in enumerate(counts)
    ]
    parts = [_summary(counts), *groups]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{''.join(parts)}</body></html>\n"
    )


def row_counts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows, suspects, duplicates, outliers, expected share of wrong labels and mean alignment of each task."""
    return [
        {
            "task": str(name),
            "role": str(rows["role"].iloc[0]),
            "rows": len(rows),
            "suspects": int(rows["suspect"].sum()),
            "wrong_share": float(rows["p_wrong"].mean()),
            "duplicates": int((rows["duplicate_of"] >= 0).sum()),
            "outliers": int((rows["outlying"] > OUTLYING).sum()),
            "alignment": float(rows["alignment"].mean()),
        }
        for name, rows in frame.groupby("task", sort=False)
    ]


def _summary(counts: Sequence[Mapping[str, Any]]) -> str:
    headings = ("task", "rows", "likely wrong", "duplicates", "outliers", "alignment")
    head = f"<tr>{''.join(f'<th>{heading}</th>' for heading in headings)}</tr>"
    lines = "".join(
        f'<tr><td><a href="#task-{number}">{escape(one["task"])}</a></td><td>{one["rows"]:,}</td>'
        f"<td>{one['suspects']:,}</td><td>{one['duplicates']:,}</td><td>{one['outliers']:,}</td>"
        f"<td>{one['alignment']:+.2f}</td></tr>"
        for number, one in enumerate(counts)
    )
    return f"<table>{head}{lines}</table>"


def _task(rows: pd.DataFrame, whole: int, number: int, shots: pd.DataFrame) -> str:
    name = str(rows["task"].iloc[0])
    worst = rows.sort_values(["p_wrong", "influence"], ascending=[False, True], kind="stable").head(MOST_ROWS)
    role = "the target's shots" if rows["role"].iloc[0] == "target" else "source"
    shown = f"{len(worst):,} of {whole:,} rows, those likeliest wrong first"
    articles = "".join(_row(row, shots) for row in worst.to_dict("records"))
    return f'<h2 id="task-{number}">{escape(name)}</h2><p class="mute">{role}; {shown}</p>{articles}'


def _row(row: dict[Any, Any], shots: pd.DataFrame) -> str:
    chance = f"{100 * row['p_wrong']:.0f} % wrong"
    style = ' class="bad"' if row["suspect"] else ""
    suggested = f" → {escape(str(row['suggested']))}?" if isinstance(row["suggested"], str) else ""
    notes = [f"row {row['row']}", f"alignment {row['alignment']:+.2f}", f"influence {row['influence']:+.1f}"]
    if row["duplicate_of"] >= 0:
        notes.append(f'<span class="warn">like row {row["duplicate_of"]}</span>')
    if row["outlying"] > OUTLYING:
        notes.append(f'<span class="warn">outlier ({row["outlying"]:.1f})</span>')
    against = "".join(_shot(shots, int(place)) for place in row["against"] if int(place) < len(shots))
    told = f"<details><summary>shots of the target against it</summary>{against}</details>" if against else ""
    return (
        f"<article><p><b{style}>{escape(str(row['label']))}{suggested}</b> "
        f'<span class="mute">{chance} · {" · ".join(notes)}</span></p>'
        f"<p>{_text(row['text'])}</p>{told}</article>\n"
    )


def _shot(shots: pd.DataFrame, place: int) -> str:
    return f"<p><b>{escape(str(shots['label'][place]))}</b> {_text(shots['text'][place])}</p>"


def _text(text: object) -> str:
    whole = str(text)
    return escape(whole if len(whole) <= MOST_CHARACTERS else whole[: MOST_CHARACTERS - 1] + "…")
