"""One spelling for a label's value, wherever it comes from, and for lists of labels in messages."""

import re
import unicodedata
from collections.abc import Iterable

# Nobody sees them: zero-width space, word joiner, byte order mark, soft hyphen. The zero-width joiners stay: words of
# some languages, and emoji, are spelled with them.
UNSEEN = re.compile("[\u200b\u2060\ufeff\u00ad]")
LONGEST = 60  # characters of a label in a list of several
WHOLE_NUMBER = re.compile(r"[-+]?\d+\.0+")


def label_name(value: object) -> str:
    """A label's value as text, so that 1, 1.0, "1" and "1.0" are one label, and True and "true" are one.

    CSV files know text only, JSON and Parquet have types, and a column with a gap turns whole numbers into
    floats: without this the same label would have another name in another file. Texts are put into Unicode's composed
    form, without characters that nobody sees; bytes are read as UTF-8.
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if not text.isascii():
        text = unicodedata.normalize("NFC", UNSEEN.sub("", text))
    text = text.strip()
    if text.lower() in {"true", "false"}:
        return text.lower()
    return str(int(float(text))) if WHOLE_NUMBER.fullmatch(text) and len(text) < 16 else text


def listed_labels(names: Iterable[str]) -> str:
    """Labels in a line of text; one that holds a comma stands in quotes."""
    return ", ".join(map(quoted_label, names))


def quoted_label(name: str) -> str:
    """A label as it stands beside others in a line: on one line, cut, and in quotes if it holds a comma."""
    line = " ".join(name.split())
    short = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
    return f'"{short}"' if "," in short else short
