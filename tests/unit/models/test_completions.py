"""Rows with completions: the loss is that of the completion alone, and generation is greedy, whatever stands beside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from completion_rows import losses, rows_of

from sgg_ray.errors import ModelError
from sgg_ray.models import build_model, fit_tasks
from sgg_ray.models.greedy import greedy
from sgg_ray.tasks import load_tasks

CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
REVIEW = {"prompt": "Review: {text}\nLabel:"}


def negative_log_likelihood(model, prompt: list[int], answer: list[int]) -> float:
    """Mean over the answer's tokens, one by one, without batch, padding or anything else."""
    total = 0.0
    for position, token in enumerate(answer):
        ids = torch.tensor([[*prompt, *answer[:position]]])
        total -= float(model.backbone(input_ids=ids).logits[0, -1].log_softmax(-1)[token])
    return total / len(answer)


def test_the_loss_is_that_of_the_completions_tokens_and_its_end(make_language_model):
    model, task = make_language_model()
    rows = model.tokenise(task, task.train)
    found = losses(model, *[(rows, row) for row in range(5)])
    for row in range(5):
        prompt, (answer,) = rows.ids[row].tolist(), rows.candidates[row]
        assert answer[-1] == model.tokenizer.eos_token_id
        assert model.text_of(np.array(answer)) == task.train.completions[row]
        assert float(found[row]) == pytest.approx(negative_log_likelihood(model, prompt, answer), abs=1e-4)


def test_the_loss_does_not_depend_on_the_other_rows_of_the_batch(make_language_model):
    model, task = make_language_model()
    mixed = [(f"word{n} " * (1 + 2 * n) + f"good{n}", "very " * (1 + n % 3) + f"bad{n}") for n in range(8)]
    rows = model.tokenise(task, rows_of(*mixed))
    together = losses(model, *[(rows, row) for row in range(8)])
    alone = torch.cat([losses(model, (rows, row)) for row in range(8)])
    assert together.std() > 0.01
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_loss_has_no_gradient_from_padding_or_prompt_tokens(make_language_model):
    """Changing the tokens behind an answer changes nothing: no place of theirs has a loss."""
    model, task = make_language_model()
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
def test_the_text_is_cut_and_the_completion_never(make_language_model, template):
    model, task = make_language_model(template, train={"max_length": 20})
    text, completion = " ".join(toy.PLAIN[:60]), "very bad1 bad2 bad3"
    rows = model.tokenise(task, rows_of((text, completion)))
    (answer,) = rows.candidates[0]
    assert model.text_of(np.array(answer)) == completion
    assert answer[-1] == model.tokenizer.eos_token_id
    assert len(rows.ids[0]) + len(answer) == 20
    decoded = model.tokenizer.decode(rows.ids[0])
    assert "word0 word1" in decoded
    assert decoded.endswith("assistant :" if template else ":")


def test_a_completion_that_does_not_fit_is_refused(make_language_model):
    model, task = make_language_model(train={"max_length": 16})
    with pytest.raises(ModelError, match=r"train\.max_length: a row of target needs"):
        model.tokenise(task, rows_of(("word1", "bad1 " * 20)))


def test_a_conversation_goes_into_the_template(make_language_model):
    model, task = make_language_model(CHAT, train={"max_length": 100})
    history = (("system", "very cold"), ("user", "word1"), ("assistant", "bad1"))
    rows = model.tokenise(task, rows_of(("word2", "bad2"), histories=(history,)))
    assert model.tokenizer.decode(rows.ids[0]) == (
        "<unk> : very cold <end> user : word1 <end> assistant : bad1 <end> user : word2 <end> assistant :"
    )


def test_without_a_template_a_conversation_is_joined(make_language_model):
    model, task = make_language_model()
    history = (("system", "very cold"), ("user", "word1"), ("assistant", "bad1"))
    assert model.prompter.write(task, "word2", history=history) == (
        "very cold\nUser: word1\nAssistant: bad1\nUser: word2\nAssistant:"
    )


def test_a_prompt_of_ones_own_is_followed_by_a_space_or_a_new_line(make_language_model):
    for prompt, text in (
        ("Review: {text}\nLabel:", "Review: x\nLabel: bad1"),
        ("Review: {text}\n", "Review: x\nbad1"),
    ):
        model, task = make_language_model(target={"prompt": prompt})
        shown = model.prompter.write(task, "y", rows_of(("x", "bad1")))
        assert shown.startswith(f"{text}\n\nReview: y")


def test_in_context_shots_come_before_the_prompt(make_language_model):
    model, task = make_language_model(target=REVIEW, train={"max_length": 128})
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


def test_a_batch_of_one_prompt_needs_no_padding(make_language_model):
    model, task = make_language_model()
    (prompt, *_) = model.questions(task, task.test)
    with torch.no_grad():
        found = greedy(model.backbone, model.tokenizer, [prompt], 3, model.autocast(), model.device)
    assert found.shape == (1, 3)
