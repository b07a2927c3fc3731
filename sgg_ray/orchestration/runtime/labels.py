"""Which nodes a label selector of Ray means."""

import re
from collections.abc import Mapping


def has_labels(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node with ``labels`` is one of those that ``selector`` means.

    Args:
        labels: of the node.
        selector: by label, ``value``, ``!value``, ``in(a, b)`` or ``!in(a, b)``; all of them have to hold.
    """
    return all(_holds(labels.get(name), wanted) for name, wanted in selector.items())


def _holds(value: str | None, wanted: str) -> bool:
    negated = wanted.startswith("!")
    inner = wanted.removeprefix("!")
    several = re.fullmatch(r"in\((.*)\)", inner)
    values = [one.strip() for one in several[1].split(",")] if several else [inner]
    return (value in values) != negated
