"""Every command line in the documentation is one that the command line takes: verbs, options, values."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from sgg_ray.cli import app

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^    (?:.* && )?sgg ([a-z].*)$", flags=re.MULTILINE)  # to be copied and run
INLINE = re.compile(r"`sgg ([a-z][^`]*)`")  # perhaps with placeholders, or a verb alone


def found(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """(page, what stands after ``sgg``), without comments and following commands."""
    lines = set()
    for page in PAGES:
        for line in pattern.findall(page.read_text(encoding="utf-8").replace("\\\n", " ")):
            lines.add((page.name, re.split(r"  +#| && ", line)[0].strip()))
    return sorted(lines)


def parse(line: str):
    """The command of a line, and the words that are left for it."""
    words = shlex.split(line)
    command = get_command(app)
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]  # pyright: ignore[reportAttributeAccessIssue]
    return command, words


def test_they_are_found():
    verbs = {line.split()[0] for _, line in [*found(BLOCK), *found(INLINE)]}
    assert {"init", "doctor", "score", "train", "tune", "compare", "predict", "export", "config"} <= verbs


@pytest.mark.parametrize(("page", "line"), found(BLOCK))
def test_a_command_to_be_copied_is_taken(page, line):
    command, words = parse(line)
    command.make_context(line, words)  # parses, and runs nothing


@pytest.mark.parametrize(("page", "line"), found(INLINE))
def test_a_command_that_is_mentioned_exists_with_its_options(page, line):
    command, words = parse(line)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known
