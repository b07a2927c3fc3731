"""How programs write that there is no value, where a file has texts only."""

from typing import Any

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
