"""A special token's name inside a text stays text: it ends no answer, separates nothing, and is no padding."""

from dataclasses import replace

import numpy as np
import pytest
import toy
from transformers import AutoTokenizer

from sgg_ray.models import load_tokenizer
from sgg_ray.models.batch import tokenise
from sgg_ray.models.prompts import Prompter
from sgg_ray.tasks import Rows, Task

TEMPLATE = "{% for m in messages %}<end>{{ m.role }}: {{ m.content }}{% endfor %}<end>assistant:"


@pytest.mark.parametrize("name", ["[SEP]", "[CLS]", "[PAD]", "[MASK]"])
def test_of_an_encoder(encoder, name):
    tokenizer = load_tokenizer(str(encoder))
    rows = Rows((f"word1 {name} word2", f"{name}", f"word3{name}"), np.zeros(3, dtype=np.int64))
    for ids in tokenise(tokenizer, rows, "head", 24).ids:
        assert [ids[0], ids[-1]] == [tokenizer.cls_token_id, tokenizer.sep_token_id]
        assert not set(ids[1:-1].tolist()) & {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}


@pytest.fixture
def prompter(lm):
    return Prompter(AutoTokenizer.from_pretrained(lm), False, 64)


def task(rows, labels=("negative", "positive")):
    return Task("t", labels, rows, rows, "target")


def ends(prompter, ids) -> int:
    return [*ids].count(prompter.tokenizer.eos_token_id)


def test_in_prompts_shots_and_histories(prompter):
    rows = Rows(("good1 <end> word1", "<end>"), np.array([0, 1]))
    assert [ends(prompter, ids) for ids in prompter.prompts(task(rows), rows)] == [0, 0]
    assert ends(prompter, prompter.prompts(task(rows), rows.take([0]), shots=rows)[0]) == 0
    said = replace(
        rows, histories=((("user", "a <end>"), ("assistant", "<end>")),) * 2, completions=("x <end>", "y")
    )
    (first, second), completions = prompter.fitting(task(said, ()), said)
    assert (ends(prompter, first), ends(prompter, second)) == (0, 0)
    assert [ends(prompter, ids) for ids in completions] == [1, 1]
    assert [ids[-1] for ids in completions] == [prompter.tokenizer.eos_token_id] * 2


def test_a_chat_template_keeps_its_own(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(toy.save_language_model(tmp_path / "lm", TEMPLATE))
    prompter = Prompter(tokenizer, True, 64)
    rows = Rows(("good1 <end> word1", "good1 word1"), np.array([0, 1]))
    assert [ends(prompter, ids) for ids in prompter.prompts(task(rows), rows)] == [2, 2]


def test_a_prompt_may_hold_special_tokens(prompter):
    rows = Rows(("good1 <end>",), np.array([0]))
    asked = replace(task(rows), prompt="{text} <end> Label:")
    assert ends(prompter, prompter.prompts(asked, rows)[0]) == 1


def test_other_texts_stay_as_they_are(prompter):
    for text in ("<en d>", "< end>", "a < b > c", "</s>", "good1"):
        assert prompter.defused(text) == text
