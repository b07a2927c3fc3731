"""Choices are scored by their likelihood, learnt by the loss over them, predicted, exported and scored as a source."""

import json

import numpy as np
import pyarrow.parquet
import pytest
import torch
import toy
from torch.nn.attention import SDPBackend, sdpa_kernel

from sgg_ray.artifacts import export_model, open_run
from sgg_ray.config import Config
from sgg_ray.errors import DataError, ModelError
from sgg_ray.models import LanguageModel, PromptedRows, build_model, check_tasks
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.prediction import Predictor
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.scoring.answer_contrasts import answer_contrasts, answer_parts
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training


@pytest.fixture
def config(settings, lm, tmp_path):
    def task(name, seed):
        path = str(toy.write_rows(tmp_path / f"{name}.jsonl", toy.choices(120, seed)))
        return {"name": name, "path": path, "kind": "multiple_choice", "columns": {"choices": "choices"}}

    changes = {
        "model": {"path": str(lm)},
        "train": {"max_steps": 60, "batch_size": 16, "learning_rate": 1e-2, "max_length": 48},
        "ray": {"storage_path": str(tmp_path / "runs")},
    }
    data = toy.merged(settings, changes)
    data["target"] = {**task("target", 1), "shots": 48, "test": {"fraction": 0.4}}
    data["sources"] = [task("same", 2), {"name": "labels", "path": settings["sources"][0]["path"]}]
    return Config.model_validate(data)


def with_model(config, **changes):
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


@pytest.mark.parametrize("normalised", [False, True])
def test_a_choice_counts_by_its_log_probability(config, normalised):
    config = with_model(config, length_normalised=normalised)
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    tokens = model.tokenise(target, target.test)
    assert isinstance(tokens, PromptedRows)
    batch = model.collate([(tokens, row) for row in range(5)])
    (scores,) = model.scores(batch)
    for row in range(5):
        prompt = tokens.ids[row].tolist()
        for place, answer in enumerate(tokens.candidates[row]):
            logits = model.backbone(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
            said = [logits[len(prompt) - 1 + step, token].item() for step, token in enumerate(answer)]
            expected = np.mean(said) if normalised else np.sum(said)
            assert scores[row, place].item() == pytest.approx(expected, abs=1e-4)
            assert model.tokenizer.decode(answer) == target.test.choices[row][place]
    labels = torch.from_numpy(target.test.labels[:5])
    expected = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    torch.testing.assert_close(model.losses(batch), expected)


def test_a_choice_that_begins_another_ends_with_the_token_for_it(config, tmp_path):
    rows = [{**row, "choices": ["very", "very good1"]} for row in toy.choices(40, 3)]
    path = str(toy.write_rows(tmp_path / "nested.jsonl", rows))
    config = config.model_copy(update={"target": config.target.model_copy(update={"path": path, "shots": 8})})
    target, _ = load_tasks(config)
    model = build_model(config, [target])
    end = model.tokenizer.eos_token_id
    tokens = model.tokenise(target, target.train)
    assert isinstance(tokens, PromptedRows)
    assert all(own[-1] == end for own in tokens.candidates[0])


def test_it_learns_predicts_and_is_exported(config, tmp_path, monkeypatch):
    run = toy.finish_run(config)
    metrics = json.loads((run / "metrics.json").read_text())["guided"]
    assert metrics["accuracy_low"] > 0.5
    rows = toy.choices(12, 9)
    found = predict(run, toy.write_rows(tmp_path / "new.jsonl", rows), tmp_path / "out.parquet").to_dict()
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict()
    right = np.mean([said == str(row["label"]) for said, row in zip(table["predicted"], rows)])
    assert found["metrics"]["accuracy"] == pytest.approx(right)
    asked = [(row["text"], *row["choices"]) for row in rows]
    np.testing.assert_allclose(Predictor(run / "model").predict(asked).p_1, table["p_1"], atol=1e-6)
    monkeypatch.chdir(tmp_path)
    card = (export_model(open_run(run), tmp_path / "out") / "README.md").read_text()
    code = card.split("## How to load it")[1].split("```python\n")[1].split("```")[0]
    own = code.replace("a text to label", rows[0]["text"])
    own = own.replace("['choice 0', 'choice 1']", repr(rows[0]["choices"]))
    scope: dict = {}
    exec(own, scope)
    assert list(scope["probabilities"].values())[1] == pytest.approx(table["p_1"][0], abs=1e-5)


def test_sources_are_scored_and_shots_are_shown(config):
    target, sources = load_tasks(config)
    model = build_model(config, [target])
    scores = score_tasks(TaskSummariser(model, config.alignment, 0), target, sources)
    assert scores["same"].value > 0.2
    assert np.isfinite(scores["labels"].value)
    off = dict.fromkeys(("lambda_direction", "lambda_magnitude", "lambda_alignment", "lambda_source"), 0.0)
    for method in ("zero_shot", "in_context"):
        own = config.model_copy(
            update={
                "guidance": config.guidance.model_copy(update=off),
                "train": config.train.model_copy(update={"method": method, "context_length": 100}),
            }
        )
        assert run_training(own, target, [], {}, torch.device("cpu")).probabilities.shape == (
            len(target.test),
            2,
        )
    assert isinstance(model, LanguageModel)
    shown = model.prompter.write(target, "word1", target.train.take([0]))
    assert target.train.choices[0][target.train.labels[0]] in shown


def uneven(count, seed):
    """Rows with two or four choices."""
    rows = toy.choices(count, seed)
    for row in rows[::2]:
        row["choices"] += ["very word1" if row["label"] else "good1", "word2 word3"]
    return rows


@pytest.fixture
def uneven_config(config, tmp_path):
    path = str(toy.write_rows(tmp_path / "uneven.jsonl", uneven(120, 5)))
    return config.model_copy(update={"target": config.target.model_copy(update={"path": path})})


@pytest.mark.parametrize("normalised", [False, True])
def test_a_choice_that_a_row_has_not_counts_for_nothing(uneven_config, normalised):
    config = with_model(uneven_config, length_normalised=normalised)
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    tokens = model.tokenise(target, target.test)
    batch = model.collate([(tokens, row) for row in range(8)])
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        (scores,), losses, found = model.scores(batch), model.losses(batch), model.predictions(batch)
    counts = [len(own) for own in target.test.choices[:8]]
    assert set(counts) == {2, 4}
    for row, count in enumerate(counts):
        own = scores[row, :count].log_softmax(0)
        assert losses[row].item() == pytest.approx(-own[int(batch.labels[row])].item(), abs=1e-5)
        assert found[row].tolist() == pytest.approx([*own.exp().tolist(), *[0.0] * (4 - count)], abs=1e-6)
    trained = list(model.parameters())
    gradient = torch.autograd.grad(losses.mean(), trained, create_graph=True)
    curved = torch.autograd.grad(
        sum(((one * one.detach()).sum() for one in gradient), torch.zeros(())), trained
    )
    assert all(torch.isfinite(one).all() for one in (*gradient, *curved))


def test_gradients_of_rows_with_other_numbers_of_choices_are_their_own(uneven_config):
    """Side by side rows could be taken for one another's: two sequences and four make three each."""
    adapter = {"peft_type": "lora", "r": 2, "target_modules": ["q_proj"], "init_lora_weights": False}
    config = Config.model_validate(
        toy.merged(uneven_config.model_dump(mode="json"), {"model": {"adapter": adapter}})
    )
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    counts = np.array([len(own) for own in target.train.choices])
    chosen = np.concatenate([np.flatnonzero(counts == count)[:3] for count in (2, 4)])
    tokens, parts = answer_parts(model, target, chosen, np.zeros(6, dtype=np.int64), None)
    together = [found.whole() for found in answer_contrasts(model, target, tokens, parts, 6)]
    alone = [next(iter(answer_contrasts(model, target, tokens, [part], 1))).whole() for part in parts]
    torch.testing.assert_close(torch.stack(together), torch.stack(alone))
    assert torch.stack(alone).norm(dim=1).min() > 0


def test_rows_with_other_numbers_of_choices_are_learnt_and_predicted(uneven_config, tmp_path):
    run = toy.finish_run(uneven_config)
    assert json.loads((run / "metrics.json").read_text())["guided"]["accuracy"] > 0.6
    rows = uneven(10, 9)
    found = predict(run, toy.write_rows(tmp_path / "new.jsonl", rows), tmp_path / "out.parquet").to_dict()
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict()
    right = np.mean([said == str(row["label"]) for said, row in zip(table["predicted"], rows)])
    assert found["metrics"]["accuracy"] == pytest.approx(right)
    assert [p == 0 for p in table["p_2"]] == [len(row["choices"]) == 2 for row in rows]
    predictor = Predictor(run / "model")
    asked = [(row["text"], *row["choices"]) for row in rows]
    np.testing.assert_allclose(predictor.predict(asked).p_1, table["p_1"], atol=1e-6)
    padded = [(*own, "", "")[:5] for own in asked]  # as a table has it
    np.testing.assert_allclose(predictor.predict(padded).p_1, table["p_1"], atol=1e-6)
    with pytest.raises(
        DataError, match="the model takes text, choice 0, choice 1, choice 2, choice 3, found 6 in"
    ):
        predictor.predict([("a text", "a", "b", "c", "d", "e")])


def test_an_encoder_is_refused(config, encoder):
    target, sources = load_tasks(config)
    with pytest.raises(ModelError, match=r"target\.kind: multiple_choice needs a language model"):
        check_tasks(with_model(config, path=str(encoder)), [target, *sources])
