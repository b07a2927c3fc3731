"""Token ids word by word, for tokenizers that treat every word by itself: each word is looked up once.

The tokenizers of BERT and its kin clean a text, part it at white space and punctuation and look its words up, which
takes 50 µs for 32 words. Texts consist of the same words again and again, and no word has a say in another's ids.
"""

import json
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

MOST_WORDS = 1 << 16  # that are remembered, some 15 MB
_known: "WeakKeyDictionary[Any, WordIds | None]" = WeakKeyDictionary()


class WordIds:
    """The ids of words that a tokenizer has been asked for.

    Args:
        tokenizer: of Transformers; see :func:`word_ids`, which says for which this holds.
    """

    def __init__(self, tokenizer: Any):
        from tokenizers import Tokenizer

        # One of its own: what others cut off with theirs is not to be cut off a word.
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        whole, bare = (self._backend.encode("a", add_special_tokens=special).ids for special in (True, False))
        place = whole.index(bare[0])
        self._before, self._after = whole[:place], whole[place + len(bare) :]
        self._words: dict[str, list[int]] = {}

    def encode(self, texts: Sequence[str], max_length: int) -> list[np.ndarray | None]:
        """Ids of each text, special tokens included; None for a text that has to be seen as a whole.

        Args:
            max_length: tokens kept of a text.
        """
        room = max_length - len(self._before) - len(self._after)
        # What can be printed has no white space but blanks, and no character that is dropped.
        parted = [text.split(None, room) if room > 0 and text.isprintable() else None for text in texts]
        words = self._with({word for own in parted if own for word in own[:room]})
        found: list[np.ndarray | None] = []
        for own in parted:
            ids = None
            if own is not None:
                ids = list(islice(chain.from_iterable(map(words.__getitem__, own[:room])), room))
                if len(own) > room > len(ids):  # words without ids make room for what is behind
                    ids = None
            found.append(
                None if ids is None else np.array([*self._before, *ids, *self._after], dtype=np.int32)
            )
        return found

    def _with(self, asked: set[str]) -> dict[str, list[int]]:
        """Ids of these words at least."""
        new = [word for word in asked if word not in self._words]
        rows = self._backend.encode_batch_fast(new, add_special_tokens=False) if new else []
        added = {word: row.ids for word, row in zip(new, rows)}
        if len(self._words) + len(added) > MOST_WORDS:
            return {**{word: self._words[word] for word in asked if word in self._words}, **added}
        self._words.update(added)
        return self._words


def word_ids(tokenizer: Any) -> WordIds | None:
    """What is known of the words of a tokenizer; None for one whose words may depend on each other."""
    if tokenizer not in _known:
        _known[tokenizer] = WordIds(tokenizer) if _by_words(tokenizer) else None
    return _known[tokenizer]


def _by_words(tokenizer: Any) -> bool:
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    kinds = [(parts[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    added = [token for token in parts["added_tokens"] if not token["special"]]
    return (
        kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
        and not added  # they are looked for in texts as a whole
        and tokenizer.truncation_side == "right"
    )
