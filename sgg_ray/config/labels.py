"""One spelling for a label's value, wherever it comes from."""

import re

WHOLE_NUMBER = re.compile(r"[-+]?\d+\.0+")


def label_name(value: object) -> str:
    """A label's value as text, so that 1, 1.0, "1" and "1.0" are one label, and True and "true" are one.

    CSV files know text only, JSON and Parquet have types, and a column with a gap turns whole numbers into
    floats: without this the same label would have another name in another file.
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    if text.lower() in {"true", "false"}:
        return text.lower()
    return str(int(float(text))) if WHOLE_NUMBER.fullmatch(text) and len(text) < 16 else text
