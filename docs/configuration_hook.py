"""Put the table of all keys, made from the schema, into the page about the configuration file."""

from sgg_ray.config.reference import all_keys

MARK = "<!-- every key -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for every page."""
    return markdown.replace(MARK, tables()) if MARK in markdown else markdown


def tables() -> str:
    """A table for each section of the file."""
    lines, section = [], None
    for key in all_keys():
        parent, _, name = key.path.rpartition(".")
        if parent != section:
            section = parent
            lines += [
                "",
                f"## {parent or 'The run'}",
                "",
                "| key | default | may be | meaning |",
                "|---|---|---|---|",
            ]
        default = "required" if key.default is None else f"`{key.default}`"
        cells = [f"`{name}`", default, key.allowed, key.description]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
