"""``--set a.b=value``: change one value of the file from the command line."""

from typing import Any

import yaml

from sgg_ray.config.document import parse_yaml


def apply_override(data: dict[str, Any], override: str) -> list[str]:
    """Set one ``a.b=value`` in place, the value in YAML; return what is wrong with it, as lines.

    An entry of a list goes by its ``name`` or its position: ``sources.imdb.max_rows``, ``sources.0.max_rows``.
    """
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        return [f"--set {override}: must be key=value, for instance train.max_steps=50"]
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        return [f"--set {override}: the value is not valid YAML; put it in quotes"]
    node: Any = data
    for depth, part in enumerate(parts[:-1]):
        if isinstance(node, list):
            position = _position(node, part)
            if position is None:
                return [_no_entry(override, parts[:depth], node, part)]
            node = node[position]
        else:
            if node.get(part) is None:
                node[part] = [] if (depth, part) == (0, "sources") else {}
            node = node[part]
        if not isinstance(node, dict | list):
            return [f"--set {override}: '{'.'.join(parts[: depth + 1])}' is a value, it has no keys"]
    if isinstance(node, dict):
        node[parts[-1]] = value
        return []
    position = _position(node, parts[-1])
    if position is None:
        return [_no_entry(override, parts[:-1], node, parts[-1])]
    node[position] = value
    return []


def _position(entries: list[Any], part: str) -> int | None:
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if part in names:
        return names.index(part)
    return int(part) if part.isdecimal() and len(part) < 10 and int(part) < len(entries) else None


def _no_entry(override: str, parents: list[str], entries: list[Any], part: str) -> str:
    names = [
        str(entry.get("name", number)) if isinstance(entry, dict) else str(number)
        for number, entry in enumerate(entries)
    ]
    return (
        f"--set {override}: '{'.'.join(parents)}' has no entry '{part}'; it has: {', '.join(names) or 'none'}"
    )
