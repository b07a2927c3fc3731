"""Put the table of all keys, made from the schema, into the page about the configuration file."""

from sgg_ray.config.reference import all_keys

MARK = "<!-- every key -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for every page."""
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
