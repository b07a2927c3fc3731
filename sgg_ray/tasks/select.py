"""Clean, choose and split rows. Every choice depends on (seed, text), not on a row's place in a file."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgg_ray.tasks.read import counted
from sgg_ray.tasks.stored_texts import LARGE, StoredTexts, alike
from sgg_ray.tasks.task import Rows, Text, parts_of

FIELD_END = "\x1f"  # which no key holds: it is white space
VERY_LONG = 20_000  # characters
# Zero-width characters, byte order mark, soft hyphen: texts that differ in them look alike.
SEEN = re.compile(r"[^\x00-\x20\x7f-\x9f]")
INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff\u00ad]")


@dataclass(frozen=True)
class Cleaned:
    """Distinct rows with, for each, the key by which texts are compared."""

    rows: Rows
    keys: (
        np.ndarray
    )  # [n] of str; of many rows a view of a file, which is indexed and iterated in the same way
    notes: tuple[str, ...]

    def take(self, indices: np.ndarray) -> "Cleaned":
        """The rows at these positions."""
        return Cleaned(self.rows.take(indices), self.keys[indices], self.notes)

    def without(self, keys: Collection[str]) -> "Cleaned":
        """The rows whose texts are not among ``keys``, a set."""
        return self.take(np.flatnonzero([key not in keys for key in self.keys]))


def text_key(text: Text) -> str:
    """What two texts have in common when they differ in case, spacing and Unicode spelling only, field by field.

    Control characters alone are no text, as tokenizers drop them: the key is then empty.
    """
    if not isinstance(text, str):
        keys = [text_key(part) for part in text]
        return FIELD_END.join(keys) if any(keys) else ""
    if not text.isascii():
        text = unicodedata.normalize("NFC", INVISIBLE.sub("", text))
    key = " ".join(text.split()).casefold()
    return key if SEEN.search(key) else ""


def is_blank(text: Text) -> bool:
    """Whether there is nothing to read: spaces, invisible and control characters at most."""
    return not text_key(text)


def clean(texts: Sequence[Text], labels: np.ndarray) -> Cleaned:
    """Drop empty texts, duplicates, and texts that carry two different labels; count each.

    Of duplicates that differ in case or spacing the first in alphabetical order stays, wherever it stands.

    Args:
        texts: texts [n], each one string or the fields of a row.
        labels: label numbers [n].
    """
    large = len(texts) >= LARGE
    keys: Any = StoredTexts.of(map(text_key, texts)) if large else np.array([*map(text_key, texts)], object)
    first = first_with_key(keys)
    empty = int((first < 0).sum())
    chosen = {}  # in place of the first row of its key, of keys that several rows have
    duplicates = contradictory = 0
    for head, others in _copies(first).items():
        positions = [head, *others]
        if len(set(labels[positions].tolist())) > 1:
            contradictory += len(positions)
            chosen[head] = -1
        else:
            duplicates += len(others)
            chosen[head] = min(positions, key=lambda position: (_parts(texts[position]), position))
    heads = np.flatnonzero(first == np.arange(len(first)))
    kept = np.array([chosen.get(head, head) for head in heads.tolist()], dtype=np.int64)
    kept = kept[kept >= 0]
    own = (_stripped(texts[int(position)]) for position in kept)
    rows = Rows(
        StoredTexts.of(own) if large and len(kept) and alike(texts) else tuple(own),
        np.asarray(labels, dtype=np.int64)[kept],
    )
    long = sum(sum(map(len, parts_of(text))) > VERY_LONG for text in rows.texts)
    notes = (
        (empty, f"{counted(empty, 'row')} with an empty text dropped"),
        (duplicates, f"{counted(duplicates, 'duplicate row')} dropped"),
        (contradictory, f"{counted(contradictory, 'row')} of texts with contradictory labels dropped"),
        (
            long,
            f"{counted(long, 'text')} of over {VERY_LONG:,} characters kept, cut to train.max_length tokens",
        ),
    )
    told = tuple(note for count, note in notes if count)
    return Cleaned(rows, keys[kept], told)


def key_marks(keys: Iterable[str]) -> np.ndarray:
    """16 bytes of BLAKE2 for each key, as two numbers [n, 2]: no two of the keys on any disk are alike by chance."""
    marks = bytearray()
    for key in keys:
        marks += hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.frombuffer(marks, dtype=np.uint64).reshape(-1, 2)


def first_with_key(keys: Iterable[str]) -> np.ndarray:
    """For each key [n] the first place with the same one, its own if there is none before; −1 for an empty key."""
    marks = key_marks(keys)
    order = np.lexsort((marks[:, 1], marks[:, 0]))  # equal ones stay in their order
    new = np.ones(len(order), dtype=bool)
    new[1:] = (marks[order[1:]] != marks[order[:-1]]).any(axis=1)
    found = np.empty(len(order), dtype=np.int64)
    found[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    found[(marks == key_marks([""])).all(axis=1)] = -1
    return found


def _copies(first: np.ndarray) -> dict[int, list[int]]:
    """The later places of each key that several have, by the first one."""
    found: dict[int, list[int]] = {}
    for place in np.flatnonzero((first >= 0) & (first != np.arange(len(first)))).tolist():
        found.setdefault(int(first[place]), []).append(place)
    return found


def _parts(text: Text) -> tuple[str, ...]:
    return tuple(part.strip() for part in parts_of(text))


def _stripped(text: Text) -> Text:
    return text.strip() if isinstance(text, str) else _parts(text)


def shuffled(keys: Sequence[str] | np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """A random order [n] that depends on the texts and the seed alone.

    Rows are sorted by a hash of (seed, purpose, text). Adding, removing or moving other rows does not change
    how two rows stand to each other, so the 8-shot set of a seed lies inside its 16-shot set. BLAKE2 and no
    faster hash of a library: it is a standard, so the split is the same in every version of everything.
    """
    salt = hashlib.blake2b(f"{seed}/{purpose}/".encode(), digest_size=8)
    marks = bytearray()
    for key in keys:
        mark = salt.copy()
        mark.update(key.encode("utf-8", "surrogatepass"))
        marks += mark.digest()
    return np.argsort(np.frombuffer(marks, dtype=">u8"), kind="stable")


def first_of_each_class(order: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` positions of each class in ``order``."""
    chosen = [order[labels[order] == value][:count] for value in np.unique(labels)]
    return np.concatenate([*chosen, np.empty(0, dtype=np.int64)])


def stratified(order: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """``count`` positions from ``order`` with the classes in the proportions they have among all rows."""
    if count >= len(order):
        return order
    rank = np.empty(len(order))
    for value in np.unique(labels):
        members = order[labels[order] == value]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(rank[order], kind="stable")][:count]


def flip(rows: Rows, keys: np.ndarray, share: float, classes: int, seed: int) -> Rows:
    """Give that share of the rows the next label (the other one, if there are two)."""
    chosen = shuffled(keys, seed, "flip")[: round(share * len(rows))]
    labels = rows.labels.copy()
    labels[chosen] = (labels[chosen] + 1) % classes
    return Rows(rows.texts, labels)
