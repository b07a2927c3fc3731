"""``report.html``: what a run came to, as one page that needs no other file.

Everything that is shown goes through the template's escaping, and the page's own policy forbids scripts.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sgg_ray.errors import printable
from sgg_ray.report.cells import are_numbers

if TYPE_CHECKING:
    from jinja2 import Template

LONG = 40  # characters from which a cell is a text, which wraps


@dataclass(frozen=True)
class PageTable:
    """A table of a page. Columns of numbers are aligned right, columns of texts wrap."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def kinds(self) -> list[str]:
        """What each column holds: ``number``, ``text`` or nothing of note."""
        columns = [[row[place] for row in self.rows] for place in range(len(self.headings))]
        return [
            "text"
            if any(len(cell) > LONG for cell in column)
            else "number"
            if are_numbers(column)
            else "plain"
            for column in columns
        ]


@dataclass(frozen=True)
class Picture:
    """A PNG file of the run folder, with a line below it."""

    path: Path
    caption: str

    @property
    def data(self) -> str:
        """The file's content, in base64."""
        from markupsafe import Markup

        return Markup(base64.b64encode(self.path.read_bytes()).decode("ascii"))


@dataclass(frozen=True)
class Section:
    """A part of a page, from top to bottom: lines, text as it is typed, tables, pictures."""

    title: str
    lines: Sequence[str] = ()
    tables: Sequence[PageTable] = ()
    pictures: Sequence[Picture] = ()
    code: str = ""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        facts: what tells this run from others, in a few words each.
        summary: what the run has shown, before everything else.
    """

    title: str
    facts: Sequence[str] = ()
    summary: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=tuple)

    def html(self) -> str:
        """The whole document. Control characters are shown as such, so that nothing in it is lost or hidden."""
        return _template().render(page=self)


def pictures(folder: Path, captions: dict[str, str]) -> list[Picture]:
    """The pictures that were drawn, of those that ``captions`` names by file."""
    return [
        Picture(folder / name, caption) for name, caption in captions.items() if (folder / name).is_file()
    ]


def as_sentence(line: str) -> str:
    """The line with a capital letter and a full stop."""
    return f"{line[:1].upper()}{line[1:]}{'' if line.endswith(('.', '?')) else '.'}"


def sentences(lines: Sequence[str]) -> list[str]:
    """Lines as sentences, without empty ones."""
    return [as_sentence(line) for line in lines if line]


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sgg_ray.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
