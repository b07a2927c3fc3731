"""Texts of many rows in a file without a name, mapped into memory: the system holds what is used of them."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    from sgg_ray.tasks.task import Text

LARGE = 50_000  # rows of a task from which on its texts are stored
PIECE = 8192  # texts at once


class StoredTexts(Sequence["Text"]):
    """Texts [n] that are read where they lie, for as long as somebody has them; rows can be taken without copying.

    The file has no name and is gone with the process, however that ends. Sent to another process, the texts go along.

    Args:
        data: UTF-8, one behind the other: bytes [b].
        ends: where each field ends in them [m · F].
        fields: F, of each text; 0 if texts are no tuples, and have one.
        rows: which of the m texts these are, in this order [n]; None for all.
    """

    def __init__(self, data: Any, ends: np.ndarray, fields: int, rows: np.ndarray | None = None):
        self._data, self._ends, self._fields = memoryview(data), ends, fields
        self._rows = np.arange(len(ends) // max(1, fields)) if rows is None else rows

    @classmethod
    def of(cls, texts: Iterable[Text]) -> StoredTexts:
        """Store texts, which are all strings or all tuples of as many; at least one.

        Raises:
            OSError: the disk is full.
        """
        ends: list[np.ndarray] = []
        size, fields = 0, 0
        with tempfile.TemporaryFile(prefix="sgg-texts-") as file:
            for piece in _pieces(texts):
                fields = 0 if isinstance(piece[0], str) else len(piece[0])
                parts = chain.from_iterable(piece) if fields else piece
                encoded = [str(part).encode("utf-8", "surrogatepass") for part in parts]
                own = size + np.cumsum([len(part) for part in encoded])
                ends.append(own)
                size = int(own[-1])
                file.write(b"".join(encoded))
            file.flush()
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        return cls(data, np.concatenate(ends), fields)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int | np.integer) -> Text: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[Text, ...]: ...
    @overload
    def __getitem__(self, row: np.ndarray) -> StoredTexts: ...
    def __getitem__(
        self, row: int | np.integer | slice | np.ndarray
    ) -> Text | tuple[Text, ...] | StoredTexts:
        found = self._rows[row]
        if isinstance(row, np.ndarray):
            return StoredTexts(self._data, self._ends, self._fields, found)
        return tuple(map(self._text, found.tolist())) if isinstance(row, slice) else self._text(int(found))

    def __iter__(self) -> Iterator[Text]:
        for start in range(0, len(self), PIECE):
            yield from self[start : start + PIECE]
        if isinstance(self._data.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self._data.obj.madvise(mmap.MADV_DONTNEED)  # what is read again comes from the file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredTexts) and list(self) == list(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> tuple[Any, ...]:
        width = max(1, self._fields)
        places = (self._rows[:, None] * width + np.arange(width)).ravel()
        starts = np.where(places > 0, self._ends[places - 1], 0)
        lengths = self._ends[places] - starts
        data = np.empty(
            int(lengths.sum()), dtype=np.uint8
        )  # which pickle hands over without copying it again
        own, stored = np.cumsum(lengths), np.frombuffer(self._data, dtype=np.uint8)
        for start, length, end in zip(starts.tolist(), lengths.tolist(), own.tolist()):
            data[end - length : end] = stored[start : start + length]
        return StoredTexts, (data, own, self._fields)

    def _text(self, row: int) -> Text:
        if not self._fields:
            return self._field(row)
        first = row * self._fields
        return tuple(self._field(place) for place in range(first, first + self._fields))

    def _field(self, place: int) -> str:
        start = self._ends[place - 1] if place else 0
        return str(self._data[start : self._ends[place]], "utf-8", "surrogatepass")


def alike(texts: Iterable[Text]) -> bool:
    """Whether texts are all strings, or all tuples of as many."""
    return len({0 if isinstance(text, str) else len(text) for text in texts}) == 1


def _pieces(texts: Iterable[Text]) -> Iterator[list[Text]]:
    piece: list[Text] = []
    for text in texts:
        piece.append(text)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece
