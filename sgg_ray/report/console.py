"""Tables that are framed and coloured on a terminal, and plain aligned lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sgg_ray.errors import printable

Row = Sequence[str | Text]


def make_console(as_json: bool = False) -> Console:
    """Where output goes: stdout, or stderr when stdout is kept for one JSON document."""
    return Console(file=sys.stderr if as_json else sys.stdout, highlight=False, markup=False, emoji=False)


def print_line(console: Console, text: str | Text, style: str = "") -> None:
    """One line, however long; off a terminal it is not wrapped, so that logs can be searched."""
    # The style goes with the text: given to print(), it would colour a live display below as well.
    line = Text(printable(text), style=style) if isinstance(text, str) else text
    console.print(line, soft_wrap=not console.is_terminal)


def print_pairs(console: Console, title: str, pairs: Mapping[str, object]) -> None:
    """A title and aligned ``name  value`` lines."""
    print_line(console, title, style="bold")
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        line = Text.assemble("  ", (name.ljust(width), "cyan"), "  ", printable(str(value)))
        line.rstrip()
        print_line(console, line)


def print_table(console: Console, headings: Sequence[str], rows: Sequence[Row], left: int = 1) -> None:
    """A table; the first ``left`` columns and the last are aligned left, numbers between them right."""
    rows = [[printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    last = len(headings) - 1
    right = [left <= column < last for column in range(len(headings))]
    if console.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading, is_right in zip(headings, right):
            table.add_column(heading, justify="right" if is_right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    lines = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right)
        ]
        print_line(console, "  ".join(cells).rstrip())


def duration(seconds: float) -> str:
    """A length of time as people read it: 12 s, 3 min 05 s, 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )
