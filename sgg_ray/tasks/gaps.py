"""How programs write that there is no value, and lists, where a file has texts only."""

import ast
import json
from typing import Any

import numpy as np

# pandas, R, SQL and Excel; Excel's errors as well.
NO_VALUE = frozenset(
    {"NaN", "nan", "-nan", "NaT", "<NA>", "NULL", "null"}
    | {"#N/A", "#NA", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"}
)
UNCLEAR = frozenset({"NA", "N/A", "n/a", "None"})  # may be a label, or no value


def is_gap(value: Any) -> bool:
    """Whether a value says that there is none: None, NaN, a text without characters or one of ``NO_VALUE``."""
    if value is None or (isinstance(value, float) and value != value):
        return True
    text = str(value).strip()
    return not text or text in NO_VALUE


def as_values(value: Any) -> list[Any] | None:
    """The values of a list, or of a text that is one, as JSON or as Python writes it; None of anything else."""
    if isinstance(value, list | tuple | set | np.ndarray):
        return list(value)
    if not isinstance(value, str) or not value.strip().startswith("["):
        return None
    for read in (json.loads, ast.literal_eval):  # which takes literals alone, and runs nothing
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None
