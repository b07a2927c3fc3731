"""Which columns a row's text is made of, and what they are called in a prompt."""

import re
from typing import TYPE_CHECKING

from sgg_ray.config.values import as_list

if TYPE_CHECKING:
    from sgg_ray.config.task_sections import TaskConfig

TEXT, LABELS = "text", "labels"
PLACEHOLDER = re.compile(r"\{(\w[\w .-]*)\}")


def placeholders(prompt: str) -> tuple[str, ...]:
    """Names in braces in a prompt, each once, without {labels}."""
    return tuple(name for name in dict.fromkeys(PLACEHOLDER.findall(prompt)) if name != LABELS)


def text_fields(entry: "TaskConfig") -> dict[str, str]:
    """Column by name in a prompt, in order: {text} alone, or several columns under their own names."""
    columns = as_list(entry.columns.text)
    names = placeholders(entry.prompt) if entry.prompt is not None else ()
    if any(name != TEXT for name in names):
        return {name: columns[0] if name == TEXT else name for name in names}
    return {name: name for name in columns} if len(columns) > 1 else {TEXT: columns[0]}


def check_prompt(entry: "TaskConfig") -> str | None:
    """What is wrong with a prompt beside the columns it is about; None if nothing is."""
    if entry.prompt is None:
        return None
    names, columns = placeholders(entry.prompt), as_list(entry.columns.text)
    if entry.kind == "generation" or not names:
        return (
            None if names == (TEXT,) else "prompt: must hold {text}, where the text goes, and no other name"
        )
    if len(columns) > 1:
        missing = [column for column in columns if column not in names]
        if missing:
            return (
                f"prompt: must hold {{{missing[0]}}}, as columns.text names it; add it, or leave it out there"
            )
        if TEXT in names and TEXT not in columns:
            return f"prompt: holds {{text}}, but columns.text names {', '.join(columns)}; write their names in braces"
    return None
