"""Rows with completions: the loss is that of the completion alone, and generation is greedy, whatever stands beside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from sgg_ray.errors import ModelError
from sgg_ray.models import LanguageModel, build_model, fit_tasks, load_model, save_model
from sgg_ray.models.greedy import greedy
from sgg_ray.tasks import Rows, load_tasks

CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
REVIEW = {"prompt": "Review: {text}\nLabel:"}
ADAPTERS = [
    None,
    {"peft_type": "lora", "r": 4, "init_lora_weights": False},
    {"peft_type": "prompt_tuning", "num_virtual_tokens": 4},
    {"peft_type": "prefix_tuning", "num_virtual_tokens": 4},
]


@pytest.fixture
def make_model(make_generation):
    """Target, model and configuration; template=... gives the tokenizer a chat template."""

    def make(template=None, **changes):
        config = make_generation(**changes)
        target, _ = load_tasks(config)
        model = build_model(config, [target])
        assert isinstance(model, LanguageModel)
        if template:
            model.tokenizer.chat_template = template
            model.prompter = replace(model.prompter, chat=True)
        return model.eval(), target

    return make


def rows_of(*pairs, histories=()) -> Rows:
    texts, completions = zip(*pairs)
    return Rows(texts, np.zeros(len(texts), dtype=np.int64), completions, histories)


def negative_log_likelihood(model, prompt: list[int], answer: list[int]) -> float:
    """Mean over the answer's tokens, one by one, without batch, padding or anything else."""
    total = 0.0
    for position, token in enumerate(answer):
        ids = torch.tensor([[*prompt, *answer[:position]]])
        total -= float(model.backbone(input_ids=ids).logits[0, -1].log_softmax(-1)[token])
    return total / len(answer)


def losses(model, *examples) -> torch.Tensor:
    with torch.no_grad():
        return model.losses(model.collate(list(examples)))


def test_the_loss_is_that_of_the_completions_tokens_and_its_end(make_model):
    model, task = make_model()
    rows = model.tokenise(task, task.train)
    found = losses(model, *[(rows, row) for row in range(5)])
    for row in range(5):
        prompt, (answer,) = rows.ids[row].tolist(), rows.candidates[row]
        assert answer[-1] == model.tokenizer.eos_token_id
        assert model.text_of(np.array(answer)) == task.train.completions[row]
        assert float(found[row]) == pytest.approx(negative_log_likelihood(model, prompt, answer), abs=1e-4)


def test_the_loss_does_not_depend_on_the_other_rows_of_the_batch(make_model):
    model, task = make_model()
    mixed = [(f"word{n} " * (1 + 2 * n) + f"good{n}", "very " * (1 + n % 3) + f"bad{n}") for n in range(8)]
    rows = model.tokenise(task, rows_of(*mixed))
    together = losses(model, *[(rows, row) for row in range(8)])
    alone = torch.cat([losses(model, (rows, row)) for row in range(8)])
    assert together.std() > 0.01
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_loss_has_no_gradient_from_padding_or_prompt_tokens(make_model):
    """Changing the tokens behind an answer changes nothing: no place of theirs has a loss."""
    model, task = make_model()
    rows = model.tokenise(task, rows_of(("word1 good1", "bad1"), ("word2 " * 12 + "good2", "very bad2")))
    batch = model.collate([(rows, 0), (rows, 1)])
    padded = batch.input_ids.clone()
    padded[batch.attention_mask == 0] = 9
    with torch.no_grad():
        before, after = model.losses(batch), model.losses(replace(batch, input_ids=padded))
    torch.testing.assert_close(before, after)


def test_rows_with_labels_and_rows_with_completions_share_a_batch(make_generation, data):
    config = make_generation(sources=[{"name": "labels", "path": str(data / "clean.jsonl"), **REVIEW}])
    target, (other,) = load_tasks(config)
    model = build_model(config, [target, other]).eval()
    a, b = model.tokenise(target, target.train), model.tokenise(other, other.train)
    mixed = losses(model, (a, 0), (b, 0), (a, 1), (b, 1))
    apart = torch.cat([losses(model, (rows, 0), (rows, 1)) for rows in (a, b)])
    torch.testing.assert_close(mixed, apart)
    assert model.collate([(b, 0), (a, 0), (b, 1)]).heads == (("", 1), ("negative|positive", 2))


def test_gradients_of_a_mixed_batch_are_those_of_its_parts(make_generation, data):
    config = make_generation(sources=[{"name": "labels", "path": str(data / "clean.jsonl"), **REVIEW}])
    target, (other,) = load_tasks(config)
    model = build_model(config, [target, other]).eval()
    a, b = model.tokenise(target, target.train), model.tokenise(other, other.train)
    parameters = list(model.parameters())

    def gradient(*examples):
        loss = model.losses(model.collate(list(examples))).sum()
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])

    mixed = gradient((a, 0), (b, 0), (a, 1), (b, 1))
    apart = gradient((a, 0), (a, 1)) + gradient((b, 0), (b, 1))
    torch.testing.assert_close(mixed, apart, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("template", [None, CHAT], ids=["plain", "chat"])
def test_the_text_is_cut_and_the_completion_never(make_model, template):
    model, task = make_model(template, train={"max_length": 20})
    text, completion = " ".join(toy.PLAIN[:60]), "very bad1 bad2 bad3"
    rows = model.tokenise(task, rows_of((text, completion)))
    (answer,) = rows.candidates[0]
    assert model.text_of(np.array(answer)) == completion
    assert answer[-1] == model.tokenizer.eos_token_id
    assert len(rows.ids[0]) + len(answer) == 20
    decoded = model.tokenizer.decode(rows.ids[0])
    assert "word0 word1" in decoded
    assert decoded.endswith("assistant :" if template else ":")


def test_a_completion_that_does_not_fit_is_refused(make_model):
    model, task = make_model(train={"max_length": 16})
    with pytest.raises(ModelError, match=r"train\.max_length: a row of target needs"):
        model.tokenise(task, rows_of(("word1", "bad1 " * 20)))


def test_a_conversation_goes_into_the_template(make_model):
    model, task = make_model(CHAT, train={"max_length": 100})
    history = (("system", "very cold"), ("user", "word1"), ("assistant", "bad1"))
    rows = model.tokenise(task, rows_of(("word2", "bad2"), histories=(history,)))
    assert model.tokenizer.decode(rows.ids[0]) == (
        "<unk> : very cold <end> user : word1 <end> assistant : bad1 <end> user : word2 <end> assistant :"
    )


def test_without_a_template_a_conversation_is_joined(make_model):
    model, task = make_model()
    history = (("system", "very cold"), ("user", "word1"), ("assistant", "bad1"))
    assert model.prompter.write(task, "word2", history=history) == (
        "very cold\nUser: word1\nAssistant: bad1\nUser: word2\nAssistant:"
    )


def test_a_prompt_of_ones_own_is_followed_by_a_space_or_a_new_line(make_model):
    for prompt, text in (
        ("Review: {text}\nLabel:", "Review: x\nLabel: bad1"),
        ("Review: {text}\n", "Review: x\nbad1"),
    ):
        model, task = make_model(target={"prompt": prompt})
        shown = model.prompter.write(task, "y", rows_of(("x", "bad1")))
        assert shown.startswith(f"{text}\n\nReview: y")


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
def test_generating_side_by_side_says_what_each_prompt_says_alone(make_model, adapter):
    """Left padding, with positions from each prompt's first token, changes nothing."""
    model, task = make_model(model={"adapter": adapter})
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


def test_positions_count_from_each_prompts_first_token(make_model, make_generation, lm, tmp_path):
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
    model, task = make_model(model={"path": str(tmp_path)})
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


def test_left_padding_gives_the_scores_of_right_padding(make_model):
    """The first new token of a left-padded batch is the most likely one at the last place of a right-padded one."""
    model, task = make_model()
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


def test_an_answer_ends_at_the_end_token_and_is_padded_behind(make_model):
    model, task = make_model()
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


def test_settings_of_the_model_do_not_make_it_sample(make_model):
    model, task = make_model()
    prompts = model.questions(task, task.test)[:4]
    plain = model.generate(prompts)
    settings = {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 4.0, "num_beams": 3}
    for name, value in settings.items():
        setattr(model.backbone.generation_config, name, value)
    np.testing.assert_array_equal(model.generate(prompts), plain)


def test_a_saved_model_generates_the_same(make_model, make_generation, tmp_path):
    model, task = make_model(model={"adapter": ADAPTERS[1]}, target=REVIEW)
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


def test_in_context_shots_come_before_the_prompt(make_model):
    model, task = make_model(target=REVIEW, train={"max_length": 128})
    shown = model.show(task, task.train, longest=40)
    assert 0 < shown <= len(task.train)
    text = model.tokenizer.decode(model.questions(task, task.test)[0])
    assert text.count("Review :") == shown + 1
    assert text.startswith(f"Review : {task.train.texts[0]} Label : {task.train.completions[0]}")


def test_shots_that_do_not_fit_are_an_error_and_rows_of_sources_are_dropped(make_generation, tmp_path):
    long = [{"prompt": f"word{n} good{n}", "completion": "very " * 38} for n in range(3)]
    path = str(toy.write_rows(tmp_path / "long.jsonl", [*toy.answers(20, seed=5), *long]))
    config = make_generation(sources=[{"name": "long", "kind": "generation", "path": path}])
    (target, source), notes = fit_tasks(config, [load_tasks(config)[0], *load_tasks(config)[1]])
    assert len(source.train) == len(load_tasks(config)[1][0].train) - 3
    assert notes == [
        "long: 3 rows dropped: the completion does not fit into train.max_length beside its prompt"
    ]
    shots = make_generation(target={"path": path, "shots": 18, "test": {"fraction": 0.1}})
    with pytest.raises(
        ModelError, match=r"train\.max_length: \d of the 18 shots of target need up to \d+ tokens"
    ):
        fit_tasks(shots, [load_tasks(shots)[0]])
    assert len(target.train) == 12


def test_a_batch_of_one_prompt_needs_no_padding(make_model):
    model, task = make_model()
    (prompt, *_) = model.questions(task, task.test)
    with torch.no_grad():
        found = greedy(model.backbone, model.tokenizer, [prompt], 3, model.autocast(), model.device)
    assert found.shape == (1, 3)
