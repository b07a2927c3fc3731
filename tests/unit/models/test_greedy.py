"""Generation is greedy and says for each prompt what it says for it alone."""

import numpy as np
import pytest
import torch
from completion_rows import losses, rows_of
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from sgg_ray.models import LanguageModel, load_model, save_model

REVIEW = {"prompt": "Review: {text}\nLabel:"}


ADAPTERS = [
    None,
    {"peft_type": "lora", "r": 4, "init_lora_weights": False},
    {"peft_type": "prompt_tuning", "num_virtual_tokens": 4},
    {"peft_type": "prefix_tuning", "num_virtual_tokens": 4},
]


def by_hand(model, prompt: np.ndarray, most: int) -> list[int]:
    """Greedy decoding without cache, batch or padding."""
    ids = prompt.tolist()
    said: list[int] = []
    while len(said) < most:
        logits = model.backbone(input_ids=torch.tensor([ids]), use_cache=False).logits
        said.append(int(logits[0, -1].argmax()))
        ids.append(said[-1])
        if said[-1] == model.tokenizer.eos_token_id:
            break
    return said


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter["peft_type"] if adapter else "full")
def test_generating_side_by_side_says_what_each_prompt_says_alone(make_language_model, adapter):
    """Left padding, with positions from each prompt's first token, changes nothing."""
    model, task = make_language_model(model={"adapter": adapter})
    texts = [f"word{n} " * (1 + 3 * n) + f"good{n}" for n in range(6)]
    prompts = model.questions(task, rows_of(*((text, "") for text in texts)))
    together = model.generate(prompts)
    assert len({len(prompt) for prompt in prompts}) == 6
    assert len({tuple(answer) for answer in together.tolist()}) > 1
    with torch.no_grad():
        for prompt, answer in zip(prompts, together):
            said = by_hand(model, prompt, model.max_new_tokens)
            assert answer[: len(said)].tolist() == said
            assert model.generate([prompt])[0].tolist() == answer.tolist()


def test_positions_count_from_each_prompts_first_token(make_language_model, make_generation, lm, tmp_path):
    """With learned positions, which notice where a prompt begins: rotary ones of the other tests are relative."""
    tokenizer = AutoTokenizer.from_pretrained(lm)
    tokenizer.save_pretrained(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_positions=64,
                n_embd=32,
                n_layer=2,
                n_head=2,
                initializer_range=0.5,
            )
        ).save_pretrained(tmp_path)
    model, task = make_language_model(model={"path": str(tmp_path)})
    prompts = model.questions(
        task, rows_of(*((f"word{n} " * (1 + 3 * n) + f"good{n}", "") for n in range(6)))
    )
    together = model.generate(prompts)
    with torch.no_grad():
        for prompt, answer in zip(prompts, together):
            said = by_hand(model, prompt, model.max_new_tokens)
            assert answer[: len(said)].tolist() == said
    shifted = model.backbone(
        input_ids=torch.from_numpy(prompts[0][None].astype(np.int64)),
        position_ids=torch.arange(len(prompts[0]))[None] + 15,
    ).logits[0, -1]
    assert int(shifted.argmax()) != int(together[0, 0])  # a wrong position would have been seen
    rows = model.tokenise(task, task.train)
    alone = torch.cat([losses(model, (rows, row)) for row in range(6)])
    torch.testing.assert_close(losses(model, *[(rows, row) for row in range(6)]), alone, atol=1e-4, rtol=1e-4)


def test_left_padding_gives_the_scores_of_right_padding(make_language_model):
    """The first new token of a left-padded batch is the most likely one at the last place of a right-padded one."""
    model, task = make_language_model()
    rows = model.tokenise(task, task.train)
    prompts = [rows.ids[row] for row in range(4)] + [np.concatenate([rows.ids[0], rows.ids[1]])]
    first = model.generate(prompts)[:, 0]
    width = max(map(len, prompts))
    ids, mask = torch.zeros(5, width, dtype=torch.int64), torch.zeros(5, width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.from_numpy(prompt.astype(np.int64))
        mask[row, : len(prompt)] = 1
    with torch.no_grad():
        logits = model.backbone(input_ids=ids, attention_mask=mask).logits
    expected = [int(logits[row, len(prompt) - 1].argmax()) for row, prompt in enumerate(prompts)]
    assert first.tolist() == expected


def test_an_answer_ends_at_the_end_token_and_is_padded_behind(make_language_model):
    model, task = make_language_model()
    prompts = model.questions(task, task.test)[:8]
    free = model.generate(prompts)
    token = int(free[0, 1])
    model.backbone.generation_config.eos_token_id = token  # an end of the model's own, beside the tokenizer's
    ended = model.generate(prompts)
    for before, after in zip(free, ended):
        places = np.flatnonzero(before == token)
        if len(places):
            assert after[: places[0] + 1].tolist() == before[: places[0] + 1].tolist()
            assert set(after[places[0] + 1 :].tolist()) <= {model.tokenizer.pad_token_id}
    assert (ended[0, 2:] == model.tokenizer.pad_token_id).all()


def test_settings_of_the_model_do_not_make_it_sample(make_language_model):
    model, task = make_language_model()
    prompts = model.questions(task, task.test)[:4]
    plain = model.generate(prompts)
    settings = {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 4.0, "num_beams": 3}
    for name, value in settings.items():
        setattr(model.backbone.generation_config, name, value)
    np.testing.assert_array_equal(model.generate(prompts), plain)


def test_a_saved_model_generates_the_same(make_language_model, make_generation, tmp_path):
    model, task = make_language_model(model={"adapter": ADAPTERS[1]}, target=REVIEW)
    save_model(model, tmp_path, base=make_generation().model.path, target_head=task.head)
    again, head = load_model(tmp_path)
    assert isinstance(again, LanguageModel)
    assert again.max_new_tokens == 6
    texts = task.test.texts[:5]
    prompts = again.questions(again.task_of(head, texts), again.task_of(head, texts).train)
    expected = model.questions(task, task.test.take(np.arange(5)))
    for one, other in zip(prompts, expected):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.generate(prompts), model.generate(expected))
