"""One line for each check of `sgg doctor`."""

from rich.console import Console
from rich.text import Text

from sgg_ray.report.console import print_line

_NAME_WIDTH = 18


def print_check(console: Console, name: str, holds: bool, found: str, fix: str) -> None:
    """A tick or a cross, what was found, and below a cross what to do."""
    mark = Text("✓ ", style="green") if holds else Text("✗ ", style="red")
    print_line(console, Text.assemble(mark, name.ljust(_NAME_WIDTH), found))
    if not holds:
        print_line(console, Text(f"  → {fix}", style="yellow"))
