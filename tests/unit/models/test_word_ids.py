"""Ids that are looked up word by word are those that the tokenizer gives for the whole text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from sgg_ray.models import word_ids as module
from sgg_ray.models.batch import tokenise
from sgg_ray.models.word_ids import WordIds, word_ids
from sgg_ray.tasks import Rows

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "b",
    "good",
    "##ness",
    "##a",
    "e",
    "東",
    "'",
    "-",
    "!",
]
PIECES = [
    "a",
    "goodness",
    "gooda",
    "é",
    "e\u0301",
    "\u0301",
    "東京",
    "don't",
    "[SEP]",
    "!!",
    "a" * 101,
    "\x0b",
    "\xa0",
]
PIECES += ["\u200b", "İ", "ΑΣ", "\t", "🙂", "", "b-a"]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})


def plain(tokenizer, text: str, length: int) -> list[int]:
    return tokenizer(text, truncation=True, max_length=length, split_special_tokens=True)["input_ids"]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map(" ".join), max_size=4),
    length=st.integers(2, 12),
)
def test_ids_are_those_of_the_whole_text(tokenizer, texts, length):
    found = tokenise(tokenizer, Rows(tuple(texts), np.zeros(len(texts), dtype=int)), "head", length)
    assert [ids.tolist() for ids in found.ids] == [plain(tokenizer, text, length) for text in texts]


def test_most_texts_are_looked_up(tokenizer):
    found = WordIds(tokenizer).encode(["a goodness", "a\tb", "\u0301 a b", "b " * 9], 4)
    assert [ids is None for ids in found] == [False, True, True, False]


def test_few_words_are_remembered(tokenizer, monkeypatch):
    monkeypatch.setattr(module, "MOST_WORDS", 3)
    words = WordIds(tokenizer)
    for _ in range(2):
        for text in ("a b", "good a e", "東 ! b e", "a"):
            (ids,) = words.encode([text], 9)
            assert ids is not None
            assert ids.tolist() == plain(tokenizer, text, 9)
    assert len(words._words) <= 3


def test_other_tokenizers_see_whole_texts(tokenizer):
    joined = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    joined.normalizer = normalizers.Replace("a b", "good")  # pyright: ignore[reportAttributeAccessIssue]
    assert word_ids(PreTrainedTokenizerFast(tokenizer_object=joined)) is None
    more = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})
    more.add_tokens(["a b"])
    assert word_ids(more) is None
    left = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, truncation_side="left")
    assert word_ids(left) is None
    assert word_ids(tokenizer) is not None
