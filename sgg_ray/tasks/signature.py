"""What a file is by its first bytes, where that is not what its name says."""

from pathlib import Path

from sgg_ray.errors import DataError

LOOKED_AT = 512  # bytes looked at
PARQUET, PARQUET_ENCRYPTED, ARROW_FILE, ZIP = b"PAR1", b"PARE", b"ARROW1", b"PK\x03\x04"
# First bytes, what they are, and what to do.
NO_ROWS = (
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Excel workbook, or one with a password",
        "save it as .xlsx without a password, or as .csv",
    ),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS in place of the file",
        "fetch the file with git lfs pull",
    ),
    (b"%PDF-", "a PDF document", "give a file with rows"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as .csv"),
)
PAGES = (b"<!doctype html", b"<html")
WHOLE = {  # formats that say themselves what they are: their first bytes, and suffixes
    PARQUET: ("a Parquet file", (".parquet",)),
    ARROW_FILE: ("an Arrow file", (".arrow", ".feather")),
}


def check_signature(path: Path, suffix: str, where: str) -> None:
    """See that a file is not of quite another kind than its suffix says.

    Args:
        path: a file that is not empty.
        suffix: of the file, in lower case.
        where: its place in the YAML, or the option that named it.

    Raises:
        DataError: it is, with what it is and what to do.
    """
    with path.open("rb") as file:
        head = file.read(LOOKED_AT)
    for magic, what, advice in NO_ROWS:
        if head.startswith(magic):
            raise DataError(f"{where}: {path} is {what}; {advice}")
    if head.lstrip().lower().startswith(PAGES):
        raise DataError(
            f"{where}: {path} is a web page, perhaps of an error or a login; fetch the file itself"
        )
    for magic, (what, suffixes) in WHOLE.items():
        if head.startswith(magic) and suffix not in suffixes:
            raise DataError(f"{where}: {path} is {what}; rename it to {path.stem}{suffixes[0]}")
    expected = {".parquet": (PARQUET, PARQUET_ENCRYPTED), ".xlsx": (ZIP,)}.get(suffix)
    if expected and not head.startswith(expected) and _is_text(head):
        raise DataError(f"{where}: {path} holds text; rename it to {path.stem}.csv or {path.stem}.jsonl")


def _is_text(head: bytes) -> bool:
    """Whether these bytes are UTF-8 without control characters, but for what the last of them is torn from."""
    return all(letter.isprintable() or letter in "\r\n\t" for letter in head.decode("utf-8", "ignore"))
