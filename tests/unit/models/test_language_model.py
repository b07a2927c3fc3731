"""Labels are words that a causal language model says after a prompt."""

import numpy as np
import pytest
import torch
import toy

from sgg_ray.errors import DataError, ModelError
from sgg_ray.models import (
    LanguageModel,
    build_model,
    check_settings,
    check_tasks,
    load_model,
    save_model,
)
from sgg_ray.prediction import Predictor
from sgg_ray.scoring import class_contrasts as contrast
from sgg_ray.scoring import example_gradients
from sgg_ray.scoring.class_contrasts import Part, label_word_contrasts, single_example_parts
from sgg_ray.tasks import load_tasks
from sgg_ray.training import Hooks, SingleProcess, predict, run_training

CHAT = (
    "{% for m in messages %}{{ m.role }} : {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
REVIEW = {"prompt": "Review: {text}\nLabel:"}
LONGER = REVIEW | {"verbalizers": {"negative": " very negative", "positive": " positive"}}


@pytest.fixture
def make_lm_config(make_config, tmp_path_factory):
    """Like make_config, with a random Llama; template=... gives its tokenizer a chat template."""

    def make(template=None, **changes):
        folder = tmp_path_factory.mktemp("lm")
        toy.save_language_model(folder, template)
        model = {"path": str(folder)} | changes.pop("model", {})
        return make_config(model=model, **changes)

    return make


@pytest.fixture
def make_lm(make_lm_config):
    """Target and model of such a configuration."""

    def make(template=None, **changes):
        config = make_lm_config(template, **changes)
        target, _ = load_tasks(config)
        model = build_model(config, [target])
        assert isinstance(model, LanguageModel)
        return model.eval(), target

    return make


def log_likelihood(model: LanguageModel, prompt: list[int], answer: list[int]) -> float:
    """log p(answer | prompt), token by token, without batch, padding or anything else."""
    total = 0.0
    for position, token in enumerate(answer):
        ids = torch.tensor([[*prompt, *answer[:position]]])
        total += float(model.backbone(input_ids=ids).logits[0, -1].log_softmax(-1)[token])
    return total


@pytest.mark.parametrize("target", [REVIEW, LONGER], ids=["one token", "several"])
@pytest.mark.parametrize("normalised", [False, True])
def test_scores_are_log_likelihoods_of_the_words(make_lm, target, normalised):
    model, task = make_lm(target=target, model={"length_normalised": normalised})
    rows = model.tokenise(task, task.test)
    batch = model.collate([(rows, row) for row in range(6)])
    with torch.no_grad():
        (scores,) = model.scores(batch)
        for row in range(6):
            for label, answer in enumerate(rows.answers):
                expected = log_likelihood(model, rows.ids[row].tolist(), list(answer))
                expected /= len(answer) if normalised else 1
                assert float(scores[row, label]) == pytest.approx(expected, abs=1e-4)


def test_a_batch_scores_each_row_as_alone_whatever_it_is_padded_to(make_lm):
    model, task = make_lm(target=LONGER)
    rows = model.tokenise(task, task.test)
    with torch.no_grad():
        (together,) = model.scores(model.collate([(rows, row) for row in range(12)]))
        alone = torch.cat([model.scores(model.collate([(rows, row)]))[0] for row in range(12)])
    assert together.std() > 0.01
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_tasks_with_different_labels_share_a_batch(make_lm_config, data):
    config = make_lm_config(sources=[{"name": "other", "path": str(data / "other.jsonl")}])
    target, (other,) = load_tasks(config)
    model = build_model(config, [target, other]).eval()
    a, b = model.tokenise(target, target.train), model.tokenise(other, other.train)
    with torch.no_grad():
        mixed = model.losses(model.collate([(a, 0), (b, 0), (a, 1), (b, 1)]))
        apart = [model.losses(model.collate([(rows, 0), (rows, 1)])) for rows in (a, b)]
    expected = torch.cat(sorted(apart, key=lambda losses: float(losses[0])))
    torch.testing.assert_close(mixed.sort().values, expected.sort().values)


def test_a_long_text_is_cut_and_prompt_and_answer_are_not(make_lm):
    model, task = make_lm(target=REVIEW, train={"max_length": 16})
    long = task.train.take([0])
    text = " ".join([*toy.GOOD, *toy.BAD])
    rows = model.tokenise(task, type(long)((text,), long.labels))
    decoded = model.tokenizer.decode(rows.ids[0])
    assert len(rows.ids[0]) == 15  # one token is left for the answer
    assert decoded.startswith("Review : good0 good1")
    assert decoded.endswith("Label :")


def test_a_chat_model_gets_its_own_template(make_lm):
    model, task = make_lm(CHAT, target=REVIEW)
    decoded = model.tokenizer.decode(model.tokenise(task, task.train).ids[0])
    assert decoded.startswith("user : Review :")
    assert decoded.endswith("<end> assistant :")
    plain, _ = make_lm(CHAT, target=REVIEW, model={"chat": False})
    assert plain.tokenizer.decode(plain.tokenise(task, task.train).ids[0]).startswith("Review :")


def test_the_default_prompt_names_the_labels(make_lm):
    model, task = make_lm()
    decoded = model.tokenizer.decode(model.tokenise(task, task.train).ids[0])
    assert "Which label fits this text : negative , positive ?" in decoded


def test_words_of_which_one_begins_another_end_visibly(make_lm):
    words = {"negative": " very", "positive": " very positive"}
    model, task = make_lm(target=REVIEW | {"verbalizers": words})
    short, long = model.prompter.answers(task)
    end = model.tokenizer.eos_token_id
    assert short[-1] == long[-1] == end
    assert len(long) == len(short) + 1


def test_in_context_shots_come_before_the_text(make_lm):
    model, task = make_lm(target=REVIEW, train={"max_length": 128})
    before = model.tokenise(task, task.test).ids[0]
    shown = model.show(task, task.train, longest=len(before))
    after = model.tokenise(task, task.test).ids[0]
    assert 0 < shown <= len(task.train)
    assert after[-len(before) :].tolist() == before.tolist()
    text = model.tokenizer.decode(after)
    assert text.count("Review :") == shown + 1
    assert text.startswith(f"Review : {task.train.texts[0]} Label : {task.labels[task.train.labels[0]]}")


def test_contextual_calibration_divides_by_the_probabilities_without_a_text(make_lm):
    model, task = make_lm(target=REVIEW)

    def probabilities(rows):
        tokens = model.tokenise(task, rows)
        with torch.no_grad():
            return model.predictions(model.collate([(tokens, row) for row in range(len(rows))]))

    empty = type(task.train)(("N/A", "", "[MASK]"), np.zeros(3, dtype=np.int64))
    prior, before = probabilities(empty).mean(0), probabilities(task.test)
    assert abs(float(prior[0]) - 0.5) > 0.01
    model.calibrate(task)
    expected = before / prior
    torch.testing.assert_close(probabilities(task.test), expected / expected.sum(1, keepdim=True))


def test_the_contrast_is_the_gradient_of_the_weighted_scores(make_lm):
    model, task = make_lm(target=LONGER)
    rows = model.tokenise(task, task.train)
    part = Part(np.array([0, 3, 5]), np.array([0.5, 0.25, 0.25]))
    (found,) = label_word_contrasts(model, rows, rows.labels, [part], 2)
    (scores,) = model.scores(model.collate([(rows, int(row)) for row in part.rows]))
    residual = torch.nn.functional.one_hot(torch.from_numpy(rows.labels[part.rows]), 2) - 0.5
    loss = -(torch.from_numpy(part.weights).float()[:, None] * residual * scores).sum()
    expected = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(
        found.whole(), torch.cat([value.flatten() for value in expected]), atol=1e-5, rtol=1e-4
    )


LORA = {"adapter": {"peft_type": "lora", "r": 4, "lora_dropout": 0.5}}


@pytest.mark.parametrize("target", [REVIEW, LONGER], ids=["one token", "several"])
@pytest.mark.parametrize("most", [1 << 28, 1], ids=["together", "one by one"])
def test_gradients_of_examples_from_one_pass_are_those_of_a_pass_each(make_lm, monkeypatch, target, most):
    model, task = make_lm(target=target, model=LORA)
    with torch.no_grad():  # B begins at zero, and A has no gradient then
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    rows = model.tokenise(task, task.train)
    parts = single_example_parts(np.array([5, 0, 3, 9]))
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    monkeypatch.setattr(example_gradients, "MOST_VALUES", most)
    together = list(label_word_contrasts(model, rows, rows.labels, parts, 3))
    assert len(passes) == (2 if most > 1 else 4)
    assert_those_of_a_pass_each(monkeypatch, model, rows, parts, together)


def test_gradients_of_small_parts_come_from_one_pass_over_several(make_lm, monkeypatch):
    model, task = make_lm(target=REVIEW, model=LORA)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    rows = model.tokenise(task, task.train)
    weights = np.array([0.75, 0.25])
    parts = [
        Part(np.array([5, 0]), weights),
        Part(np.array([3]), np.ones(1)),
        Part(np.array([9, 1]), weights),
    ]
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    together = list(label_word_contrasts(model, rows, rows.labels, parts, 5))
    assert len(passes) == 1
    assert_those_of_a_pass_each(monkeypatch, model, rows, parts, together)


def assert_those_of_a_pass_each(monkeypatch, model, rows, parts, together):
    """Gradients are those that a pass over each part gives."""
    monkeypatch.setattr(contrast, "trained_layers", lambda model: None)
    apart = list(label_word_contrasts(model, rows, rows.labels, parts, 3))
    assert len(together) == len(apart) == len(parts)
    for mine, expected in zip(together, apart):
        assert expected.whole().norm() > 0
        torch.testing.assert_close(mine.whole(), expected.whole(), atol=1e-6, rtol=1e-4)


def test_only_weights_of_linear_layers_of_their_own_are_taken_together(make_lm):
    assert example_gradients.trained_layers(make_lm(model=LORA)[0]) is not None
    assert example_gradients.trained_layers(make_lm()[0]) is None  # embeddings and norms are trained
    tied = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    assert example_gradients.trained_layers(tied) == list(tied)
    tied[1].weight = tied[0].weight
    assert example_gradients.trained_layers(tied) is None


def test_a_layer_that_sees_other_rows_than_the_batch_has_is_refused():
    layer = torch.nn.Linear(3, 2, bias=False)
    flat = torch.randn(7, 3)
    gradients = example_gradients.example_gradients(
        [layer], lambda batch: layer(flat).sum(1)[: len(batch)], np.arange(4), 4
    )
    with pytest.raises(example_gradients.MixedRowsError):
        next(gradients)


def mean_loss(probabilities: np.ndarray, target) -> float:
    return float(-np.log(probabilities[np.arange(len(target.test)), target.test.labels]).mean())


ADAPTERS = [None, {"peft_type": "lora", "r": 4}, {"peft_type": "prompt_tuning", "num_virtual_tokens": 4}]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter["peft_type"] if adapter else "full")
def test_a_trained_model_is_saved_and_predicts_the_same(make_lm_config, tmp_path, adapter):
    settings = {"max_steps": 30, "learning_rate": 1e-2, "max_length": 48}
    config = make_lm_config(CHAT, model={"adapter": adapter}, target=LONGER, train=settings)
    target, sources = load_tasks(config)
    outcome = run_training(config, target, sources, {"clean": 1.0}, torch.device("cpu"))
    before = build_model(config, [target]).eval()
    start = predict(before, before.tokenise(target, target.test), 16, SingleProcess())
    assert mean_loss(outcome.probabilities, target) < 0.9 * mean_loss(start, target)
    save_model(outcome.model, tmp_path, base=config.model.path, target_head=target.head)
    again = Predictor(tmp_path, "cpu").probabilities(target.test.texts)
    np.testing.assert_allclose(again, outcome.probabilities, atol=1e-6)
    assert load_model(tmp_path)[1] == target.head


def test_frozen_weights_follow_the_precision_and_trained_ones_stay_fp32(make_lm):
    model, _ = make_lm(model={"precision": "bfloat16", "adapter": {"peft_type": "lora", "r": 4}})
    kinds = {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_tied_embeddings_are_one_parameter(make_lm):
    model, _ = make_lm()
    assert sum("embed_tokens" in name or "lm_head" in name for name, _ in model.named_parameters()) == 1


BAD = [
    ({"verbalizers": {"negative": "", "positive": " positive"}}, "has no token"),
    ({"verbalizers": {"negative": " good0", "positive": " good0"}}, "are the same tokens"),
    (REVIEW | {"prompt": "Label " * 60 + "{text}"}, "raise it or shorten the prompt"),
]


@pytest.mark.parametrize(("target", "message"), BAD, ids=[message for _, message in BAD])
def test_prompts_that_cannot_be_put_are_refused(make_lm_config, target, message):
    config = make_lm_config(target=target, train={"max_length": 48})
    task, _ = load_tasks(config)
    with pytest.raises(ModelError, match=message):
        check_tasks(config, [task])


def test_texts_that_do_not_fit_beside_the_prompt_are_told(make_lm_config):
    for length, told in ((48, 0), (14, 1)):
        config = make_lm_config(target=REVIEW, train={"max_length": length})
        task, _ = load_tasks(config)
        assert len([note for note in check_tasks(config, [task]) if "are cut to fit" in note]) == told


def test_words_for_other_labels_are_refused(make_lm_config):
    with pytest.raises(DataError, match=r"target.verbalizers: no word for positive, 'good' is no label"):
        load_tasks(make_lm_config(target={"verbalizers": {"negative": "a", "good": "b"}}))


def test_an_encoder_takes_no_prompt(make_config):
    config = make_config(target=REVIEW)
    task, _ = load_tasks(config)
    with pytest.raises(ModelError, match=r"target.prompt: .* is an encoder"):
        check_tasks(config, [task])


@pytest.mark.parametrize("target", [REVIEW, LONGER], ids=["one token", "several"])
def test_t_few_trains_a_language_model_and_no_encoder(make_lm_config, make_config, target):
    """Its loss for the right label falls, and its scores are means over tokens."""
    few = {"loss": "t_few", "max_steps": 40, "learning_rate": 1e-2, "max_length": 48}
    off = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}
    model = {"adapter": {"peft_type": "ia3"}, "length_normalised": True}
    config = make_lm_config(target=target, train=few, guidance=off, model=model)
    task, _ = load_tasks(config)
    events = []
    run_training(config, task, [], {}, torch.device("cpu"), hooks=Hooks(on_events=events.extend))
    assert events[-1]["loss"] < 0.9 * events[0]["loss"]
    with pytest.raises(ModelError, match=r"train.loss: t_few is for language models"):
        check_settings(make_config(train={"loss": "t_few"}))
