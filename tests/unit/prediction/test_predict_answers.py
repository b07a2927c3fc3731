"""A file of prompts, or of conversations, comes back with the answers, and metrics where there are references."""

import json

import pandas as pd
import pytest
import toy

from sgg_ray.artifacts import open_run
from sgg_ray.config import Config
from sgg_ray.errors import DataError
from sgg_ray.orchestration.predict.predict_driver import predict
from sgg_ray.prediction import Predictor


@pytest.fixture(scope="module")
def run(generation, tmp_path_factory):
    """A finished training that has learnt what the toy rows say."""
    storage = {"ray": {"storage_path": str(tmp_path_factory.mktemp("answers") / "runs")}}
    train = {"train": {"max_steps": 80, "batch_size": 12, "source_batch_size": 24}}
    content = toy.merged(toy.merged(generation, storage), train)
    return toy.finish_run(Config.model_validate({**content, "sources": generation["sources"][:1]}))


def test_answers_stand_beside_all_columns(run, tmp_path):
    rows = [{"id": f"0{n}", **row} for n, row in enumerate(toy.answers(30, seed=11))]
    data = toy.write_rows(tmp_path / "new.jsonl", rows)
    result = predict(run, data, tmp_path / "out.csv")
    found = pd.read_csv(tmp_path / "out.csv", dtype=str)
    assert list(found.columns) == ["id", "prompt", "completion", "generated"]
    assert found["id"].tolist() == [row["id"] for row in rows]
    assert (
        found["generated"].tolist() == open_run(run).predict(found["prompt"].tolist())["generated"].tolist()
    )
    metrics = result.tally.to_dict()["metrics"]
    assert metrics["rows"] == 30
    assert metrics["exact_match"] == (found["generated"] == found["completion"]).mean() > 0.8
    assert metrics["exact_match_low"] < metrics["exact_match"] <= metrics["rouge_l"]


def test_prompts_without_references_are_answered_and_empty_ones_left(run, tmp_path):
    data = toy.write_rows(
        tmp_path / "new.jsonl", [{"prompt": "good1 word1"}, {"prompt": " "}, {"prompt": None}]
    )
    result = predict(run, data, tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0]["generated"]
    assert [line["generated"] for line in lines[1:]] == [None, None]
    assert result.tally.to_dict() == {"rows": 3, "without_text": 2, "metrics": None}


def test_columns_of_other_names(run, tmp_path):
    rows = [{"q": row["prompt"], "a": row["completion"]} for row in toy.answers(5, seed=3)]
    data = toy.write_rows(tmp_path / "new.jsonl", rows)
    result = predict(run, data, tmp_path / "out.parquet", text="q", label="a")
    assert result.tally.to_dict()["metrics"]["rows"] == 5
    with pytest.raises(DataError, match=r"--text: column 'prompt' is not in"):
        predict(run, data, tmp_path / "out2.parquet")
    taken = toy.write_rows(tmp_path / "taken.jsonl", [{"prompt": "x", "generated": "y"}])
    with pytest.raises(DataError, match=r"has columns of the names that predictions get \(generated\)"):
        predict(run, taken, tmp_path / "out3.parquet")


def test_conversations_are_answered(run, generation, tmp_path):
    """By a run whose target is one of conversations; those that have their answer are compared with it."""
    asked = [{"role": "user", "content": "word1"}, {"role": "assistant", "content": "x"}]
    rows = [
        {
            "m": [
                *asked,
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        }
        for row in toy.answers(40, seed=4)
    ]
    content = toy.merged(
        generation, {"ray": {"storage_path": str(tmp_path / "runs")}, "train": {"max_length": 60}}
    )
    target = {
        "kind": "generation",
        "path": str(toy.write_rows(tmp_path / "talks.jsonl", rows)),
        "columns": {"messages": "m"},
        "shots": 4,
    }
    own = toy.finish_run(
        Config.model_validate({**content, "target": target, "sources": generation["sources"][:1]})
    )
    mixed = [rows[0], {"m": rows[1]["m"][:3]}, {"m": rows[2]["m"][:2]}, {"m": []}]
    result = predict(own, toy.write_rows(tmp_path / "new.jsonl", mixed), tmp_path / "out.jsonl")
    said = [json.loads(line)["generated"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert said[3] is None
    history = (("user", "word1"), ("assistant", "x"))
    predictor = Predictor(own / "model", "cpu")
    assert said[1:2] == predictor.answers([rows[1]["m"][2]["content"]], [history])
    assert result.tally.to_dict()["metrics"]["rows"] == 2
    assert result.tally.to_dict()["without_text"] == 1
