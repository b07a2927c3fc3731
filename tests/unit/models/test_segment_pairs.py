"""Texts of two columns: segment pairs of an encoder, fields of a prompt, from reading to predictions and exports."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from transformers import AutoTokenizer

from sgg_ray.artifacts import export_model, open_run
from sgg_ray.config import load_config
from sgg_ray.errors import ConfigError, DataError, ModelError
from sgg_ray.models import EncoderClassifier, build_model, check_tasks, load_model, load_tokenizer
from sgg_ray.models.batch import tokenise
from sgg_ray.models.prompts import Prompter
from sgg_ray.models.segments import numbers_segments, segment_numbers
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.tasks import Rows, Task, load_tasks
from sgg_ray.training import check_setfit

PAIR = {"text": ["premise", "hypothesis"], "label": "label"}


def pairs(count, seed):
    """Whether two lists of words hold the same kind of word: neither column tells it alone."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        same = number % 2
        first = random.integers(2)
        second = first if same else 1 - first
        words = [random.choice(toy.GOOD if kind else toy.BAD, size=2) for kind in (first, second)]
        premise, hypothesis = (" ".join([*own, *random.choice(toy.PLAIN, size=2)]) for own in words)
        rows.append({"premise": premise, "hypothesis": hypothesis, "label": "same" if same else "other"})
    return rows


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    return toy.write_rows(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", pairs(80, seed=3))


def target_of(path, **changes):
    return {"path": str(path), "columns": PAIR, "labels": ["other", "same"], "shots": 8} | changes


def test_both_columns_are_read_compared_and_split(make_config, tmp_path):
    rows = [*pairs(60, seed=3)]
    rows.append(rows[0] | {"hypothesis": rows[0]["hypothesis"].upper()})  # a copy
    rows.append(rows[1] | {"label": "same" if rows[1]["label"] == "other" else "other"})  # a contradiction
    rows.append(
        {"premise": rows[2]["premise"], "hypothesis": rows[3]["hypothesis"], "label": "same"}
    )  # another pair
    path = toy.write_rows(tmp_path / "t.jsonl", rows)
    target, _ = load_tasks(make_config(target=target_of(path, shots="all"), sources=[]))
    assert len(target.train) + len(target.test) == 60
    assert target.fields == ("premise", "hypothesis")
    assert {"1 duplicate row dropped", "2 rows of texts with contradictory labels dropped"} <= set(
        target.notes
    )
    assert not set(target.train.texts) & set(target.test.texts)
    assert all(len(text) == 2 for text in target.train.texts)


def test_segments_are_those_of_the_tokenizer(encoder):
    tokenizer = load_tokenizer(str(encoder))
    texts = (("word1 word2", "word3"), ("word4", "word5 word6 [SEP] word7"), ("word1", ""))
    rows = tokenise(tokenizer, Rows(texts, np.zeros(3, dtype=int)), "head", 24)
    assert rows.pairs
    for (first, second), ids in zip(texts, rows.ids):
        own = tokenizer([first], [second], split_special_tokens=True)
        assert ids.tolist() == own["input_ids"][0]
        tensor = torch.tensor([ids.tolist()])
        found = segment_numbers(tensor, torch.ones_like(tensor), tokenizer.sep_token_id)
        assert found.tolist() == own["token_type_ids"]


def test_the_longer_segment_is_cut(encoder):
    tokenizer = load_tokenizer(str(encoder))
    long = " ".join(f"word{n}" for n in range(40))
    (ids,) = tokenise(tokenizer, Rows(((long, "good1 bad1"),), np.zeros(1, dtype=int)), "head", 16).ids
    assert len(ids) == 16
    assert tokenizer.decode(ids.tolist()).endswith("[SEP] good1 bad1 [SEP]")


def test_a_model_without_numbers_for_segments_gets_none(encoder):
    tokenizer = load_tokenizer(str(encoder))
    model: Any = torch.nn.Linear(1, 1)
    assert not numbers_segments(tokenizer, model)
    model.config = SimpleNamespace(type_vocab_size=1)
    assert not numbers_segments(tokenizer, model)
    model.config.type_vocab_size = 2
    assert numbers_segments(tokenizer, model)


def test_a_batch_of_pairs_is_what_transformers_makes_of_it(make_config, pair_file):
    config = make_config(target=target_of(pair_file), sources=[])
    target, _ = load_tasks(config)
    model = build_model(config, [target]).eval()
    assert isinstance(model, EncoderClassifier)
    rows = model.tokenise(target, target.train)
    batch = model.collate([(rows, row) for row in range(len(rows))])
    assert batch.pairs
    own = model.tokenizer(*zip(*target.train.texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.backbone(**own).last_hidden_state
        mask = own["attention_mask"].unsqueeze(-1)
        pooled = (states * mask).sum(1) / mask.sum(1)
        expected = torch.nn.functional.normalize(pooled, dim=-1) * model.width**0.5
        # `collate` keeps the order of rows of one head.
        torch.testing.assert_close(model.features(batch), expected, atol=1e-5, rtol=1e-5)
        alone = replace(batch, pairs=False)
        assert not torch.allclose(model.features(alone), expected, atol=1e-3)  # the numbers matter


@pytest.fixture(scope="module")
def run(settings, pair_file, tmp_path_factory) -> Path:
    from sgg_ray.config import Config

    storage = str(tmp_path_factory.mktemp("pair-runs") / "runs")
    changes = {
        "target": target_of(pair_file, shots=16),
        "sources": [],
        "ray": {"storage_path": storage},
        "train": {"max_steps": 8},
    }
    return toy.finish_run(Config.model_validate(toy.merged(settings, changes)))


def test_a_finished_run_labels_pairs(run, tmp_path):
    rows = pairs(12, seed=9)
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "new.csv", index=False)
    result = predict(run, tmp_path / "new.csv", tmp_path / "out.jsonl")
    found = pd.read_json(result.path, lines=True)
    texts = [(row["premise"], row["hypothesis"]) for row in rows]
    expected = open_run(run).predict(texts)
    assert found["predicted"].tolist() == expected["predicted"].tolist()
    np.testing.assert_allclose(found["p_same"], expected["p_same"], atol=1e-6)
    assert result.tally.to_dict()["metrics"]["rows"] == 12
    frame.rename(columns={"premise": "a", "hypothesis": "b"}).to_csv(tmp_path / "other.csv", index=False)
    again = predict(run, tmp_path / "other.csv", tmp_path / "again.jsonl", text=["a", "b"])
    assert pd.read_json(again.path, lines=True)["predicted"].tolist() == found["predicted"].tolist()
    swapped = open_run(run).predict([text[::-1] for text in texts])
    assert np.abs(swapped["p_same"] - expected["p_same"]).max() > 1e-4


def test_a_wrong_number_of_columns_is_one_line(run, tmp_path):
    pd.DataFrame(pairs(4, seed=9)).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match="--text: the model takes premise, hypothesis, found premise; name 2"):
        predict(run, tmp_path / "new.csv", tmp_path / "out.csv", text="premise")
    with pytest.raises(DataError, match="give each text as a tuple of these"):
        open_run(run).predict(["a text alone"])
    with pytest.raises(DataError, match="--text: column 'nothing' is not in"):
        predict(run, tmp_path / "new.csv", tmp_path / "out.csv", text=["premise", "nothing"])


EXPORTED = """
import json, sys
sys.modules["sgg_ray"] = None
import torch
texts = json.load(sys.stdin)
from transformers import pipeline
from sentence_transformers import SentenceTransformer
classify = pipeline("text-classification", model=sys.argv[1], trust_remote_code=True, top_k=None)
scores = [classify({"text": a, "text_pair": b}) for a, b in texts]
found = [{one["label"]: one["score"] for one in row}["same"] for row in scores]
logits = SentenceTransformer(sys.argv[2]).encode([tuple(text) for text in texts], convert_to_tensor=True)
print("\\n" + json.dumps([found, logits.softmax(-1)[:, 1].tolist()]))
"""


def test_exported_models_take_pairs(run, tmp_path):
    texts = [(row["premise"], row["hypothesis"]) for row in pairs(6, seed=9)]
    folders = [
        str(export_model(open_run(run), tmp_path / form, form))
        for form in ("transformers", "sentence-transformers")
    ]
    done = subprocess.run(
        [sys.executable, "-c", EXPORTED, *folders], input=json.dumps(texts), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = open_run(run).predict(texts)["p_same"].to_numpy()
    for found in json.loads(done.stdout.splitlines()[-1]):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_encoders_take_two_columns_at_most(make_config, tmp_path):
    rows = [{"a": f"word{n}", "b": "x", "c": "y", "label": "no" if n % 2 else "yes"} for n in range(40)]
    path = toy.write_rows(tmp_path / "t.jsonl", rows)
    columns = {"text": ["a", "b", "c"], "label": "label"}
    config = make_config(target=target_of(path, columns=columns, labels=None, shots=4), sources=[])
    with pytest.raises(
        ModelError, match=r"target\.columns\.text: an encoder takes a text or a pair, found a, b, c"
    ):
        check_tasks(config, [load_tasks(config)[0]])


@pytest.fixture
def prompter(lm):
    return Prompter(AutoTokenizer.from_pretrained(lm), False, 40)


def task_of(texts, prompt=None, fields=("premise", "hypothesis")):
    rows = Rows(tuple(texts), np.zeros(len(texts), dtype=int))
    return Task("t", ("negative", "positive"), rows, rows, "target", prompt=prompt, fields=fields)


def test_a_prompt_names_columns(prompter):
    text = ("good1 {hypothesis}", "bad1")
    asked = task_of([text], "{premise} Review : {hypothesis} ? {labels} Label:")
    assert prompter.write(asked, text) == "good1 {hypothesis} Review : bad1 ? negative, positive Label:"
    plain = task_of([text])
    assert prompter.write(plain, text).startswith("Premise: good1 {hypothesis}\nHypothesis: bad1\n")


def test_of_several_fields_the_longest_is_cut(prompter):
    long = " ".join(["word1"] * 60)
    asked = task_of([(long, "bad1 bad2"), ("good1", "bad1")], "{premise} ? {hypothesis} Label:")
    first, second = prompter.prompts(asked, asked.train)
    assert len(first) <= 39
    said = prompter.tokenizer.decode(first.tolist())
    assert "bad1 bad2" in said
    assert said.count("word1") > 20
    assert prompter.tokenizer.decode(second.tolist()).split() == ["good1", "?", "bad1", "Label", ":"]


@pytest.fixture
def written(tmp_path, lm, pair_file):
    def load(target: str):
        (tmp_path / "c.yaml").write_text(
            f"model: {{path: {lm}}}\ntarget: {{path: {pair_file}, shots: 4, {target}}}\n"
        )
        return load_config(tmp_path / "c.yaml")

    return load


def test_a_language_model_is_trained_on_prompts_over_columns(written, make_config, lm, tmp_path):
    prompt = "'{premise} Review : {hypothesis} {labels} Label:'"
    own = written(f"prompt: {prompt}, labels: [other, same], verbalizers: {{other: cold, same: warm}}")
    train = {"max_steps": 3, "max_length": 48}
    config = make_config(model={"path": str(lm)}, sources=[], train=train)
    config = config.model_copy(update={"target": own.target})
    target, _ = load_tasks(config)
    assert target.fields == ("premise", "hypothesis")
    folder = toy.finish_run(config)
    model, head = load_model(folder / "model")
    assert model.task_of(head, [("a", "b")]).fields == ("premise", "hypothesis")
    texts = [(row["premise"], row["hypothesis"]) for row in pairs(4, seed=9)]
    expected = open_run(folder).predict(texts)
    assert expected["p_same"].between(0, 1).all()
    card = (export_model(open_run(folder), tmp_path / "exported") / "README.md").read_text()
    code = (
        card.split("```python\n")[1].split("```")[0].replace('"exported"', repr(str(tmp_path / "exported")))
    )
    scope: dict = {}
    example = "{'premise': 'a text to label', 'hypothesis': 'a text to label'}"
    assert example in code
    exec(code.replace(example, repr(dict(zip(target.fields, texts[0])))), scope)
    assert scope["probabilities"]["same"] == pytest.approx(expected["p_same"][0], abs=1e-5)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "columns: {text: [premise, hypothesis]}, prompt: '{premise} Label:'",
            "target.prompt: must hold {hypothesis}",
        ),
        (
            "columns: {text: [premise, hypothesis]}, prompt: '{text} Label:'",
            "target.prompt: must hold {premise}",
        ),
        ("columns: {text: [premise, premise]}", "target.columns.text: must be different columns"),
        ("columns: {text: []}", "target.columns.text: must be the name of a column, or a list of names"),
        ("columns: {text: [premise, label]}", "must name two different columns"),
        ("prompt: '{} Label:'", "target.prompt: must hold {text}"),
        (
            "columns: {text: [premise, hypothesis]}, test: {path: t.csv, columns: {text: a, label: b}}",
            "target.test.columns.text: must name 2 as target.columns.text does, found a",
        ),
    ],
)
def test_columns_and_prompts_that_do_not_fit_are_one_line(written, target, said):
    with pytest.raises(ConfigError) as caught:
        written(target)
    (line,) = caught.value.problems
    assert said in line


def test_a_prompt_over_a_column_that_is_not_there_is_one_line(written):
    with pytest.raises(DataError) as caught:
        load_tasks(written("prompt: '{premise} {hypotesis} Label:', labels: [other, same]"))
    (line,) = caught.value.problems
    assert line.startswith("target.prompt: column 'hypotesis' is not in ")
    assert line.endswith("did you mean 'hypothesis'?")


def test_setfit_takes_one_text_a_row(make_config, pair_file):
    off = {f"lambda_{term}": 0.0 for term in ("direction", "magnitude", "alignment", "source")}
    config = make_config(target=target_of(pair_file), sources=[], guidance=off, train={"method": "setfit"})
    with pytest.raises(ConfigError, match="setfit takes one text a row, found"):
        check_setfit(config)
