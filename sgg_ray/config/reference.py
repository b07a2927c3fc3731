"""Every key of the file with its default and what it means, from the schema itself."""

import json
import types
import typing
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from sgg_ray.config.schema import Config
from sgg_ray.config.section import Section


@dataclass(frozen=True)
class Key:
    """One key of the file. ``default`` is as the file spells it; None where the key has to be given."""

    path: str
    default: str | None
    allowed: str
    description: str


def keys_of(section: type[Section], prefix: str = "") -> Iterator[Key]:
    """The keys of a section and of the sections in it, in the order of the schema."""
    for name, field in section.model_fields.items():
        path, inner = f"{prefix}{name}", _section_in(field.annotation)
        if inner is not None:
            many = "[]" if typing.get_origin(field.annotation) is list else ""
            yield from keys_of(inner, f"{path}{many}.")
        else:
            yield Key(path, _default(field), _allowed(field), field.description or "")


def all_keys() -> list[Key]:
    """The keys of the whole file."""
    return list(keys_of(Config))


def commented_defaults(section: type[Section], given: Collection[str] = ()) -> str:
    """A section's keys, but those that are given, as YAML comments: each with its default and its description."""
    keys = [
        key
        for key in keys_of(section)
        if key.default is not None and key.path not in given and "." not in key.path
    ]
    entries = [f"{key.path}: {key.default}" for key in keys]
    width = max(map(len, entries))
    return "".join(f"  # {entry.ljust(width)}  # {key.description}\n" for entry, key in zip(entries, keys))


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that an annotation holds: itself, in a list, or beside None."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    found = (
        _section_in(inner)
        for inner in typing.get_args(annotation)
        if typing.get_origin(annotation) is not dict
    )
    return next((inner for inner in found if inner is not None), None)


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = to_jsonable_python(
        field.get_default(call_default_factory=True, validated_data={}), exclude_none=True
    )
    return value if isinstance(value, str) else json.dumps(value)


def _allowed(field: FieldInfo) -> str:
    """What a value may be, in words: choices, kind and bounds."""
    bounds = [
        f"{sign} {bound if isinstance(bound, int) else f'{bound:g}'}"
        for item in field.metadata
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if (bound := getattr(item, name, None)) is not None
    ]
    return " ".join([_kind(field.annotation), *bounds]).strip()


_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}


def _kind(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(map(str, inner))
    if origin is typing.Annotated:
        return _kind(inner[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_kind, inner)))
    if origin is list:
        return "list"
    return "mapping" if origin is dict else _KINDS.get(annotation, "mapping")
