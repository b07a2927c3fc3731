"""Language models of both architectures take tasks with label words, pairs, levels and choices the whole way."""

import json

import numpy as np
import pyarrow.parquet
import pytest
import torch
import toy

from sgg_ray.artifacts import export_model, open_run
from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.orchestration.compare.cell_record import _cell
from sgg_ray.orchestration.compare.cell_runner import CellKey, CellRunner, Split
from sgg_ray.orchestration.lifecycle import read_tasks
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.prediction import Predictor

LEVELS = ("negative", "cold", "positive")


def pairs(count, seed):
    return [{"a": row["text"], "b": "very x", "label": row["label"]} for row in toy.sentences(count, seed)]


def levels(count, seed):
    return [{"text": row["text"], "label": LEVELS[row["stars"]]} for row in toy.rated(count, seed, levels=3)]


KINDS = {
    "classification": (toy.sentences, {}),
    "pairs": (pairs, {"columns": {"text": ["a", "b"]}, "prompt": "{a} Label : {b} ?"}),
    "ordinal": (levels, {"kind": "ordinal", "labels": list(LEVELS)}),
    "multiple_choice": (toy.choices, {"kind": "multiple_choice", "columns": {"choices": "choices"}}),
}
REFUSED = {
    "regression": (toy.rated, {"kind": "regression", "columns": {"label": "stars"}}),
    "multi_label": (toy.tagged, {"kind": "multi_label", "columns": {"label": "labels"}}),
}


@pytest.fixture
def configure(settings, tmp_path, request):
    def make(kind, model):
        rows, entry = {**KINDS, **REFUSED}[kind]
        for name, seed in (("target", 1), ("same", 2)):
            toy.write_rows(tmp_path / f"{name}.jsonl", rows(80, seed))
        changes = {
            "model": {"path": str(request.getfixturevalue(model))},
            "train": {"max_steps": 3, "max_length": 48, "eval_batch_size": 32},
            "alignment": {"rows": 32},
            "ray": {"storage_path": str(tmp_path / "runs")},
        }
        data = toy.merged(settings, changes)
        shots = 24 if kind in ("multiple_choice", "regression") else 8
        data["target"] = {
            **entry,
            "path": str(tmp_path / "target.jsonl"),
            "shots": shots,
            "test": {"fraction": 0.4},
        }
        data["sources"] = [{**entry, "name": "same", "path": str(tmp_path / "same.jsonl")}]
        return Config.model_validate(data)

    return make


@pytest.mark.parametrize("model", ["lm", "t5"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_goes_the_whole_way(configure, kind, model, tmp_path):
    config = configure(kind, model)
    read_tasks(config, NullListener())
    run = toy.finish_run(config)
    metrics = json.loads((run / "metrics.json").read_text())["guided"]
    assert np.isfinite(metrics["accuracy"])
    assert ("spearman" in metrics) == (kind == "ordinal")
    new = toy.write_rows(tmp_path / "new.jsonl", KINDS[kind][0](10, 9))
    found = predict(run, new, tmp_path / "out.parquet").to_dict()
    assert found["metrics"]["rows"] == 10
    said = pyarrow.parquet.read_table(tmp_path / "out.parquet").column("predicted").to_pylist()
    assert set(said) <= set(Predictor(run / "model").labels)
    card = (export_model(open_run(run), tmp_path / "exported", "transformers") / "README.md").read_text()
    assert "How to load it" in card


@pytest.mark.parametrize("model", ["lm", "t5"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_scored_and_compared(configure, kind, model):
    config = configure(kind, model)
    off = dict.fromkeys(("lambda_direction", "lambda_magnitude", "lambda_alignment", "lambda_source"), 0)
    strategies = [{"name": "full", "guidance": off}, {"name": "guided"}]
    compared = Config.model_validate({**config.model_dump(), "compare": {"strategies": strategies}})
    runner = CellRunner(compared, torch.device("cpu"))
    split = Split(0, config.target.name, int(config.target.shots))
    scores = runner.score(split)
    assert all(np.isfinite(one["same"]["value"]) for one in scores.values())
    cells = [_cell(runner.train(CellKey(name, split), scores)) for name in ("full", "guided")]
    assert all(np.isfinite(cell.accuracy) for cell in cells)
    assert np.isfinite(cells[0].mae) == (kind == "ordinal")


@pytest.mark.parametrize("model", ["lm", "t5"])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_that_needs_a_head_is_refused(configure, kind, model):
    with pytest.raises(ModelError) as caught:
        read_tasks(configure(kind, model), NullListener())
    assert [line.split(":")[0] for line in caught.value.problems] == ["target.kind", "sources.same.kind"]
    assert all(f"{kind} needs an encoder" in line for line in caught.value.problems)


@pytest.mark.parametrize("model", ["lm", "t5"])
@pytest.mark.parametrize("train", [{"context_examples": 2, "context_length": 60}, {"loss": "t_few"}])
def test_ways_of_training_of_both_architectures(configure, model, train):
    config = configure("classification", model)
    config = Config.model_validate(toy.merged(config.model_dump(), {"train": train}))
    read_tasks(config, NullListener())
    run = toy.finish_run(config)
    (row,) = Predictor(run / "model").predict(["good1 word2"]).to_dict("records")
    assert row["p_negative"] + row["p_positive"] == pytest.approx(1)
