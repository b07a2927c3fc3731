"""The site beyond docs/: the table of all keys, made from the schema, and the tables behind the results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgg_ray.config.reference import all_keys

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

MARK = "<!-- every key -->"
STUDIES = Path(__file__).parents[1] / "studies"


def on_files(files: Files, config: Any, **_: object) -> Files:
    """Called by MkDocs with the files of docs/: adds what the results link to."""
    from mkdocs.structure.files import File  # the tests read this file without MkDocs

    for page in [STUDIES / "log.md", *sorted((STUDIES / "results").glob("*.md"))]:
        name = f"studies/{page.relative_to(STUDIES).as_posix()}"
        content = page.read_text(encoding="utf-8").replace("../docs/", "../")  # docs/ is the site's root
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for every page."""
    markdown = markdown.replace("](../studies/", "](studies/")
    return markdown.replace(MARK, tables()) if MARK in markdown else markdown


def tables() -> str:
    """A table for each section of the file."""
    sections: dict[str, list[str]] = {}
    for key in all_keys():
        parent, _, name = key.path.rpartition(".")
        description, _, own = key.description.partition("; default: ")  # one that depends on something else
        default = own or ("required" if key.default is None else f"`{key.default}`")
        cells = [f"`{name}`", default, key.allowed, description.replace("[", "\\[")]  # no reference to a page
        row = "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        sections.setdefault(parent, []).append(row)
    head = ["| key | default | may be | meaning |", "|---|---|---|---|"]
    parts = ["\n".join([f"## {name or 'The run'}", "", *head, *rows]) for name, rows in sections.items()]
    return "\n\n".join(parts)
