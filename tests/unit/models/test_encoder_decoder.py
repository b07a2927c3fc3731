"""Encoder-decoder models say labels, choices and answers as Transformers' own T5 does."""

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from transformers import (
    MT5ForConditionalGeneration,
    T5ForConditionalGeneration,
    UMT5ForConditionalGeneration,
)

from sgg_ray.artifacts import export_model, open_run
from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.models import (
    EncoderDecoderModel,
    build_model,
    check_model,
    check_settings,
    check_tasks,
    find_model,
)
from sgg_ray.prediction import Predictor
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import load_tasks

LORA = {"peft_type": "lora", "r": 4, "target_modules": ["q", "v", "wo"]}


@pytest.fixture(scope="module", params=["tied", "own output layer", "mt5", "umt5"])
def family(request, t5, tmp_path_factory):
    """A folder of each member of the family, and Transformers' own model of it."""
    folder = tmp_path_factory.mktemp("family") / "model"
    if request.param == "tied":
        return t5, T5ForConditionalGeneration.from_pretrained(t5).eval()
    kind = {"mt5": MT5ForConditionalGeneration, "umt5": UMT5ForConditionalGeneration}
    untied = {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}
    toy.save_encoder_decoder(folder, **untied)
    if request.param in kind:
        own = kind[request.param]
        settings = T5ForConditionalGeneration.from_pretrained(folder).config.to_dict()
        settings = {
            name: value for name, value in settings.items() if name not in ("model_type", "architectures")
        }
        own(own.config_class(**settings)).save_pretrained(folder)
        return folder, own.from_pretrained(folder).eval()
    return folder, T5ForConditionalGeneration.from_pretrained(folder).eval()


def built(config):
    target, sources = load_tasks(config)
    model = build_model(config, [target, *sources])
    assert isinstance(model, EncoderDecoderModel)
    return model.eval(), target


def with_model(make, path, **changes):
    return make(**toy.merged({"model": {"path": str(path)}, "train": {"max_length": 40}}, changes))


def own_scores(model, prompt, answers, start=0):
    """log p of each answer's tokens, one answer at a time, by the model's own logits."""
    found = []
    for answer in answers:
        given = torch.tensor([[start, *answer[:-1]]])
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=given).logits[0].log_softmax(-1)
        found.append(sum(logits[step, token].item() for step, token in enumerate(answer)))
    return found


@pytest.mark.parametrize("words", [None, {"negative": "very cold", "positive": "warm"}])
def test_label_words_count_by_the_decoders_own_log_probability(family, make_config, words):
    path, own = family
    config = with_model(make_config, path, target={"verbalizers": words})
    model, target = built(config)
    tokens = model.tokenise(target, target.test)
    ends = model.tokenizer.eos_token_id
    assert all(ids[-1] == ends for ids in tokens.ids)  # T5's encoder has seen no text without it
    (scores,) = model.scores(model.collate([(tokens, row) for row in range(6)]))
    for row in range(6):
        expected = own_scores(own, tokens.ids[row].tolist(), tokens.answers)
        assert scores[row].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_loss_of_completions_is_that_of_transformers(family, make_generation):
    path, own = family
    model, target = built(with_model(make_generation, path))
    tokens = model.tokenise(target, target.test)
    losses = model.losses(model.collate([(tokens, row) for row in range(5)]))
    for row in range(5):
        text, completion = target.test.texts[row], target.test.completions[row]
        wanted = model.tokenizer(completion, return_tensors="pt")["input_ids"]
        given = model.tokenizer(text, return_tensors="pt")["input_ids"]
        assert losses[row].item() == pytest.approx(own(input_ids=given, labels=wanted).loss.item(), abs=1e-4)


def test_answers_are_those_of_transformers(family, make_generation):
    path, own = family
    model, target = built(with_model(make_generation, path, train={"max_new_tokens": 6}))
    rows = replace(target.test.take(range(5)), texts=(*target.test.texts[:4], "good1"))
    said = model.generate(model.questions(target, rows))
    assert said.shape == (5, 6)
    for row, text in enumerate(rows.texts):
        given = model.tokenizer(text, return_tensors="pt")["input_ids"]
        expected = own.generate(given, max_new_tokens=6, do_sample=False)[0, 1:].tolist()
        assert said[row, : len(expected)].tolist() == expected
        assert set(said[row, len(expected) :].tolist()) <= {model.tokenizer.pad_token_id}


def test_a_prompt_is_encoded_once(t5, make_config):
    words = {"negative": "very cold", "positive": "warm"}
    model, target = built(with_model(make_config, t5, target={"verbalizers": words}))
    tokens = model.tokenise(target, target.test)
    seen = []
    backbone: Any = model.backbone
    hook = backbone.get_encoder().register_forward_hook(lambda *call: seen.append(call[2][0].shape[0]))
    model.scores(model.collate([(tokens, row) for row in range(4)]))
    hook.remove()
    assert seen == [4]  # for eight answers


@pytest.mark.parametrize("adapter", [None, LORA])
def test_tasks_of_all_kinds_are_trained_together_and_scored(t5, make_config, tmp_path, adapter):
    answers = str(toy.write_rows(tmp_path / "answers.jsonl", toy.answers(60, 3)))
    choices = str(toy.write_rows(tmp_path / "choices.jsonl", toy.choices(60, 4)))
    data = make_config().model_dump(mode="json")
    data["model"] |= {"path": str(t5), "adapter": adapter}
    data["sources"] += [
        {"name": "answers", "path": answers, "kind": "generation"},
        {"name": "choices", "path": choices, "kind": "multiple_choice", "columns": {"choices": "choices"}},
    ]
    config = Config.model_validate(data)
    target, sources = load_tasks(config)
    model = build_model(config, [target, *sources])
    batch = model.collate(
        [(model.tokenise(task, task.train), row) for task in (target, *sources) for row in (0, 1)]
    )
    losses = model.losses(batch)
    assert losses.shape == (10,)
    assert torch.isfinite(losses).all()
    losses.mean().backward()
    trained = [one for one in model.parameters() if one.requires_grad]
    assert all(one.grad is not None and torch.isfinite(one.grad).all() for one in trained)
    scores = score_tasks(TaskSummariser(model, config.alignment, 0), target, sources)
    assert scores["clean"].value > 0.2 > -0.2 > scores["flipped"].value
    assert np.isfinite([scores["answers"].value, scores["choices"].value]).all()


def without(folder, copy, *names):
    """A copy of a model whose configuration lacks these keys."""
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "config.json").read_text())
    kept = {name: value for name, value in settings.items() if name not in names}
    (copy / "config.json").write_text(json.dumps(kept | dict.fromkeys(names[1:])))
    return copy


def test_the_decoder_begins_with_its_own_token_or_else_the_padding(t5, make_generation, tmp_path):
    bare = without(t5, tmp_path / "bare", "decoder_start_token_id")
    config = with_model(make_generation, bare, train={"max_new_tokens": 4})
    model, target = built(config)
    whole, _ = built(with_model(make_generation, t5, train={"max_new_tokens": 4}))
    prompts = model.questions(target, target.test)[:4]
    assert model.start == whole.start == 0
    np.testing.assert_array_equal(model.generate(prompts), whole.generate(prompts))
    with pytest.raises(
        ModelError, match=r"config\.json has no decoder_start_token_id, with which an answer begins"
    ):
        find_model(str(without(t5, tmp_path / "none", "decoder_start_token_id", "pad_token_id")))


def check(config):
    check_settings(config)
    check_model(config.model, config.train.max_length)
    check_tasks(config, load_tasks(config)[:1])


def refused(make, path, **changes):
    config = with_model(make, path, **changes)
    with pytest.raises(ModelError) as error:
        check(config)
    (line,) = error.value.problems
    return line


def test_what_is_not_supported_is_one_line(t5, make_config, tmp_path):
    virtual = {"adapter": {"peft_type": "prefix_tuning", "num_virtual_tokens": 4}}
    assert refused(make_config, t5, model=virtual).startswith(
        "model.adapter.peft_type: prefix_tuning puts virtual"
    )
    numbers = {"path": str(toy.write_rows(tmp_path / "rated.jsonl", toy.rated(60, 1))), "kind": "regression"}
    numbers |= {"columns": {"label": "stars"}, "labels": None}
    assert "is an encoder-decoder model; give an encoder" in refused(make_config, t5, target=numbers)
    packed = {"adapter": LORA, "quantization": "nf4"}
    assert "is for causal language models, and" in refused(make_config, t5, model=packed)
    assert "label_names is for encoders" in refused(make_config, t5, train={"head": "label_names"})
    half = shutil.copytree(t5, tmp_path / "half")
    settings = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps({**settings, "architectures": ["T5EncoderModel"]}))
    assert "holds T5EncoderModel, which is no whole t5" in refused(make_config, half)


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        ("classification", None),
        pytest.param("multiple_choice", LORA, marks=pytest.mark.slow),
        pytest.param("generation", LORA, marks=pytest.mark.slow),
    ],
)
def test_a_run_is_predicted_and_exported(t5, settings, tmp_path, monkeypatch, kind, adapter):
    make = {"classification": toy.sentences, "multiple_choice": toy.choices, "generation": toy.answers}[kind]
    columns = {"choices": "choices"} if kind == "multiple_choice" else {}
    path = str(toy.write_rows(tmp_path / "rows.jsonl", make(90, 1)))
    train = {"max_steps": 40, "learning_rate": 0.01, "max_new_tokens": 3}
    changes = {"model": {"path": str(t5), "adapter": adapter}, "train": train}
    data = toy.merged(settings, {**changes, "ray": {"storage_path": str(tmp_path / "runs")}})
    data["target"] = {"path": path, "kind": kind, "columns": columns, "shots": 30, "test": {"fraction": 0.4}}
    data["sources"] = [{"name": "labels", "path": settings["sources"][0]["path"]}]
    run = toy.finish_run(Config.model_validate(data))
    metrics = json.loads((run / "metrics.json").read_text())["guided"]
    assert metrics["rouge_l" if kind == "generation" else "accuracy"] > 0.5
    predictor, row = Predictor(run / "model"), make(1, 9)[0]
    asked = row["prompt"] if kind == "generation" else row["text"]
    if kind == "multiple_choice":
        asked = (asked, *row["choices"])
    found = predictor.predict([asked])
    monkeypatch.chdir(tmp_path)
    card = (export_model(open_run(run), tmp_path / "out") / "README.md").read_text()
    code = card.split("## How to load it")[1].split("```python\n")[1].split("```")[0]
    assert "vllm" not in card
    first = asked[0] if kind == "multiple_choice" else asked
    code = code.replace("a text to label", first).replace("a prompt to answer", first)
    scope: dict = {}
    exec(code.replace("['choice 0', 'choice 1']", repr(row.get("choices"))), scope)
    if kind == "generation":
        assert scope["answer"] == found.generated[0]
    else:
        expected = [found[name][0] for name in map(str, found) if name.startswith("p_")]
        assert list(scope["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
