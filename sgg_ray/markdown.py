"""Texts of users, and of strangers, inside Markdown, where some characters are commands."""

import re

_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>()#+!|~&$]")
_BREAK = re.compile(r"[\r\n\x0b\x0c\x85\u2028\u2029]+")


def markdown_code(text: str) -> str:
    """The text as a code span of one line, also in a table.

    CommonMark 0.31, section 6.1: a span ends at a run of as many backticks as it began with.
    """
    text = _BREAK.sub(" ", text).replace("|", "\\|")  # GitHub's tables are split before spans are read
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    mark = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{mark}{pad}{text or ' '}{pad}{mark}"


def markdown_text(text: str) -> str:
    """The text as it is, in one line of Markdown: nothing in it is markup or HTML."""
    return _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", _BREAK.sub(" ", text))
