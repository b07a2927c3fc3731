"""What `sgg data` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from sgg_ray.config import quoted_label
from sgg_ray.report.console import print_line, print_table

if TYPE_CHECKING:  # it loads PyTorch
    from sgg_ray.models import DataLook, TaskLook

MOST_CLASSES = 6  # that are named


def print_data(console: Console, look: DataLook) -> None:
    """A row a task, the classes, what was noted while reading, and the warnings."""
    headings = ["task", "rows", "train", "test", "tokens", "95 %", "most", "cut", "language"]
    print_table(console, headings, [_row(task) for task in look.tasks])
    for task in look.tasks:
        if task.classes:
            print_line(console, f"{task.name}: {classes_line(task.classes)}")
    for one in look.overlaps:
        print_line(console, f"{one.first} and {one.second}: {one.texts:,} training texts are in both")
    for task in look.tasks:
        for note in task.notes:
            print_line(console, f"{task.name}: {note}")
    for warning in look.warnings:
        print_line(console, Text.assemble(("warning", "yellow"), f": {warning}"))
    if not look.warnings:
        print_line(console, "no warnings")


def classes_line(classes: Mapping[str, int]) -> str:
    """'negative 40, positive 12', the largest first, and how many more there are."""
    ordered = sorted(classes.items(), key=lambda entry: -entry[1])
    shown: Sequence[str] = [f"{quoted_label(name)} {count:,}" for name, count in ordered[:MOST_CLASSES]]
    more = f" and {len(ordered) - MOST_CLASSES} more" if len(ordered) > MOST_CLASSES else ""
    return ", ".join(shown) + more


def _row(task: TaskLook) -> list[str]:
    language = task.fit.language
    share = f" {language.share:.0%}" if language and language.share < 1 else ""
    return [
        task.name,
        f"{task.rows:,}",
        f"{task.train:,}",
        f"{task.test:,}" if task.role == "target" else "",
        *(f"{count:,}" for count in task.fit.tokens),
        f"{task.fit.cut:.0%}",
        f"{language.name}{share}" if language else "?",
    ]
