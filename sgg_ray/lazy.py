"""Names of a package that are loaded when they are used (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def loads_when_used(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package.

    Args:
        package: its ``__name__``.
        homes: module of each name.
    """

    def load(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return load
