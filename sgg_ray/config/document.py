"""The YAML dialect of configuration files: safe, without the surprises of YAML 1.1."""

import re
from pathlib import Path
from typing import Any

import yaml

from sgg_ray.bounded import read_bounded
from sgg_ray.errors import ConfigError

LARGEST_MIB = 1.0  # of a configuration; the parser takes some ten seconds for that
MOST_VALUES = 500_000  # with every alias written out

MERGE, NULL = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:null"
# YAML 1.2's scalars. In 1.1, which the library reads, 5e-5 is text (no dot), the label names yes and no are
# booleans, 007 is octal, 1:30 is 90 and 2020-01-01 is no text that a filter could compare.
SCALARS = (
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), "-+0123456789"),
    (
        "float",
        re.compile(
            r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+.0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.2 scalars, and refuses a key that stands twice, where YAML silently keeps the last."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        # Here and not while constructing: by then `<<` has been merged into the keys.
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"key '{key.value}' stands twice in one section", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node):
        """Put the keys of ``<<`` sections behind a section's own; of equal keys the first stands.

        Instead of the library's: that of PyYAML 6.0.4 takes the wrong one of two equal keys of merged sections.
        """
        own = [pair for pair in node.value if pair[0].tag != MERGE]
        merged = []
        for sections in (value for key, value in node.value if key.tag == MERGE):
            for section in sections.value if isinstance(sections, yaml.SequenceNode) else [sections]:
                if not isinstance(section, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        problem="'<<' takes a section or a list of sections", problem_mark=section.start_mark
                    )
                self.flatten_mapping(section)
                merged += section.value
        named = {}
        for key, value in own + merged:
            named.setdefault(
                (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key), (key, value)
            )
        node.value = list(named.values())


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML version would take for something else than text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML writes these line breaks of Unicode as they are, and reads them back as spaces.
        style = '"' if any(mark in text for mark in "\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in {MERGE, NULL}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern, _first in SCALARS:
    for _dialect in (_Loader, _Dumper):
        _dialect.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, list(_first))


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    try:
        data = yaml.load(text, _Loader)
        if _values(data, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"it holds more than {MOST_VALUES:,} values, aliases written out")
        return data
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except ValueError as error:  # a tag whose text does not fit it, such as !!int x
        raise yaml.YAMLError(str(error)) from None


def _values(node: Any, known: dict[int, int]) -> int:
    """How many values a document holds once its aliases are written out; an alias to itself never ends.

    Args:
        node: what the parser made, in which an alias is the same object again.
        known: the counts of objects that were seen.
    """
    if not isinstance(node, dict | list | tuple | set):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # what is still being counted when it comes again holds itself
        inner = [*node, *node.values()] if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_values(item, known) for item in inner)
    return known[id(node)]


def write_yaml(data: Any) -> str:
    """YAML that :func:`parse_yaml` reads back to the same value."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read_document(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: one line with the file and, for a mistake in it, line and column.
    """
    example = "give a YAML file, for instance pipelines/configs/quickstart.yaml"
    try:
        text = read_bounded(path, LARGEST_MIB).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {example}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({getattr(error, 'strerror', error)}); {example}"
        ) from None
    try:
        data = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        hint = "; indent with spaces" if "'\\t'" in reason else ""
        raise ConfigError(f"{where}: not valid YAML ({reason}){hint}") from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{path}: must hold keys such as 'model' and 'target', found {found}")
    return data
