"""`sgg score --rows` and `sgg rows`, without Ray: the index is made once, goes on and is read by later targets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from sgg_ray.artifacts.row_table import export_rows, read_rows
from sgg_ray.cli import app
from sgg_ray.errors import ConfigError
from sgg_ray.models import build_model
from sgg_ray.orchestration.compare.comparison_plan import prepare_comparison
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.score import row_index
from sgg_ray.orchestration.score.pool_rows import PoolRows
from sgg_ray.orchestration.score.row_index import (
    Shard,
    ShardedVectors,
    index_key,
    read_facts,
    shards_of,
    write_shard,
)
from sgg_ray.orchestration.score.row_scoring import _groups, with_facts
from sgg_ray.orchestration.score.row_warmup import _read, _write
from sgg_ray.orchestration.score.score_driver import score
from sgg_ray.orchestration.score.task_actor import TaskWorker
from sgg_ray.orchestration.train.train_driver import prepare_training
from sgg_ray.orchestration.tune.sweep_plan import prepare_tuning
from sgg_ray.report import row_counts, rows_page
from sgg_ray.scoring import RowVectors, score_rows, vectors_of
from sgg_ray.tasks import Rows, Task, load_tasks


class Progress(NullListener):
    def __init__(self):
        self.told = []

    def advance(self, done, total, what, text=""):
        self.told.append((done, total, what))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(row_index, "SHARD_ROWS", 64)


def test_rows_are_scored_once_and_a_later_target_only_asks_for_its_own(
    make_config, database, small_shards, monkeypatch
):
    asked = []
    plain = TaskWorker.row_shards

    def row_shards(self, rows, part, bounds, paths, checkpoints=None):
        assert len(part.train) == bounds[-1][1] <= 64  # a worker is sent the rows of a shard and no others
        asked.append(part.name)
        return plain(self, rows, part, bounds, paths, checkpoints)

    monkeypatch.setattr(TaskWorker, "row_shards", row_shards)
    progress, executor = Progress(), InProcessExecutor()
    first = score(make_config(name="first"), progress, executor, rows=True)
    assert asked == ["target", *["clean"] * 3, *["flipped"] * 3]
    rows = sum(len(task.train) for task in (lambda pair: (pair[0], *pair[1]))(load_tasks(make_config())))
    assert progress.told[-1] == (rows, rows, "rows scored")
    frame = first.rows()
    assert len(frame) == rows
    assert frame.groupby("task")["p_wrong"].mean()["flipped"] > 0.9
    assert (first.folder / "rows.html").read_text().startswith("<!doctype html>")

    asked.clear()
    again = score(make_config(name="again", target={"shots": 4}), progress, executor, rows=True)
    assert asked == ["target"]
    assert score(make_config(name="again", target={"shots": 4}), progress, executor, rows=True).cached
    key = ["task", "text", "label"]
    before, after = (
        one[one["role"] == "source"].set_index(key)["outlying"].to_numpy() for one in (frame, again.rows())
    )
    np.testing.assert_allclose(before, after)


def test_an_index_that_was_stopped_goes_on_with_the_shards_that_are_missing(
    make_config, tmp_path, small_shards
):
    config = make_config()
    _, (clean, flipped) = load_tasks(config)
    shards = shards_of(config, clean, tmp_path)
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 64), (64, 128), (128, 160)]
    assert index_key(config, clean) != index_key(config, flipped)
    assert index_key(config, clean) != index_key(make_config(train={"max_length": 12}), clean)
    assert index_key(config, clean) == index_key(make_config(target={"shots": 4}), clean)
    whole = np.random.default_rng(0).normal(size=(160, 5)).astype(np.float32)
    for shard in shards:
        write_shard(shard.path, whole[shard.start : shard.stop])
    found = ShardedVectors(shards)
    assert found.shape == (160, 5)
    np.testing.assert_array_equal(found[60:130], whole[60:130])
    np.testing.assert_array_equal(found[np.array([1, 64, 159])], whole[[1, 64, 159]])
    np.testing.assert_array_equal(found[whole[:, 0] > 0], whole[whole[:, 0] > 0])
    np.testing.assert_array_equal(np.asarray(found), whole)
    for spoil, said in ((lambda path: write_shard(path, whole[:3]), "not 64 rows"), (spoiled, "delete it")):
        spoil(shards[1].path)
        with pytest.raises(ConfigError, match=said):
            ShardedVectors(shards)


def test_shards_that_follow_each_other_are_asked_for_together(tmp_path):
    missing = [
        Shard(task, 64 * number, 64 * number + 64, tmp_path / f"{number:05}.npy")
        for task, number in (("a", 0), ("a", 1), ("a", 2), ("a", 4), ("b", 5))
    ]
    found = [[(one.task, one.start // 64) for one in group] for group in _groups(missing, 2)]
    assert found == [[("a", 0), ("a", 1)], [("a", 2)], [("a", 4)], [("b", 5)]]
    assert list(_groups([], 1)) == []


def test_a_worker_that_does_not_reach_the_folder_returns_its_shards(make_config, tmp_path):
    config = make_config()
    target, sources = load_tasks(config)
    worker, rows = TaskWorker(config), PoolRows.put(InProcessExecutor(), [target, *sources])
    part, bounds = sources[0], [(0, 3), (3, 5)]
    paths = [str(tmp_path / name) for name in ("here.npy", "nowhere/there.npy")]
    first, second = worker.row_shards(rows, part, bounds, paths)
    assert first is None
    again = worker.row_shards(rows, part, bounds, [None, None])
    np.testing.assert_array_equal(np.load(paths[0]), again[0])
    np.testing.assert_array_equal(second, again[1])
    assert worker.tasks == {}  # no row was fetched but those that were sent


def test_what_is_known_of_a_sources_rows_is_found_once_and_changes_nothing(
    make_config, tmp_path, monkeypatch
):
    target, sources = load_tasks(make_config())
    model = build_model(make_config(), [target])
    own, *others = (vectors_of(model, task, 0) for task in (target, *sources))
    alone = replace(
        others[1], task=replace(others[1].task, name="alone", train=others[1].task.train.take([0, 1]))
    )
    alone = replace(alone, vectors=alone.vectors[:2], task=with_labels(alone.task, [1, 1]))
    plain = score_rows(own, [*others, alone], {})
    for _ in range(2):
        known = [with_facts(one, tmp_path / f"{one.task.name}.npz") for one in (*others, alone)]
        found = score_rows(own, known, {})
        for name, rows in plain.items():
            for field in ("wrong", "influence", "outlying", "duplicate_of"):
                np.testing.assert_array_equal(getattr(found[name], field), getattr(rows, field))
            assert found[name].note == rows.note
        monkeypatch.setattr(
            "sgg_ray.orchestration.score.row_scoring.facts_of", None
        )  # asked again, it would fail
    (tmp_path / "clean.npz").write_bytes(b"nothing")
    assert read_facts(tmp_path / "clean.npz") is None


def with_labels(task, labels):
    return replace(task, train=replace(task.train, labels=np.array(labels)))


@pytest.mark.parametrize("language_model", [False, True])
def test_shards_are_scored_as_vectors_in_memory_are(tmp_path, language_model):
    random = np.random.default_rng(0)
    held, sharded = [], []
    sizes: dict[Literal["target", "source"], int] = {"target": 8, "source": 50}
    for name, count in sizes.items():
        labels = np.arange(count) % 2
        rows = Rows(tuple(f"{name} {row}" for row in range(count)), labels)
        task = Task(name, ("x", "y"), rows, Rows((), labels[:0]), name)
        vectors = (random.normal(size=(count, 12)) + labels[:, None]).astype(np.float32)
        shards = [
            Shard(name, start, min(start + 16, count), tmp_path / f"{name}{start}.npy")
            for start in range(0, count, 16)
        ]
        for shard in shards:
            write_shard(shard.path, vectors[shard.start : shard.stop])
        held.append(RowVectors(task, vectors))
        sharded.append(RowVectors(task, ShardedVectors(shards)))  # pyright: ignore[reportArgumentType]
    expected, found = (
        score_rows(one[0], one[1:], {"source": 1.0}, language_model=language_model) for one in (held, sharded)
    )
    for name, own in expected.items():
        for key in ("alignment", "influence", "wrong", "outlying", "against"):
            np.testing.assert_allclose(getattr(found[name], key), getattr(own, key), rtol=1e-4, atol=1e-5)


def spoiled(path):
    path.write_bytes(b"nothing")


def test_rankings_that_cannot_be_made_are_refused_before_anything_starts(make_config, monkeypatch):
    monkeypatch.setattr("sgg_ray.scoring.weighted_rows.find_spec", lambda name: None)
    confident = {"row_weighting": "keep", "row_scores": "confident"}
    values = {"row_weighting": ["none", "keep"], "row_scores": ["influence", "loss"]}
    space = {f"alignment.{key}": {"choice": choice} for key, choice in values.items()}
    strategies = [{"name": "own", "alignment": confident}]
    for prepare, config, said in (
        (prepare_training, make_config(alignment=confident), "python -m pip install 'sgg-ray.compare.'"),
        (prepare_tuning, make_config(alignment=confident), "needs the package cleanlab"),
        (prepare_comparison, make_config(compare={"strategies": strategies}), "needs the package cleanlab"),
        (prepare_tuning, make_config(tune={"space": space}), "loss does not say which labels are wrong"),
    ):
        with pytest.raises(ConfigError, match=said):
            prepare(config, NullListener())
    prepare_training(make_config(alignment={"row_scores": "confident"}), NullListener())  # no row is weighted


def row(**changes):
    usual = {"task": "a", "role": "source", "row": 0, "text": "plain", "label": "x", "alignment": 0.1}
    rest = {"influence": 1.0, "p_wrong": 0.1, "suspect": False, "suggested": None, "duplicate_of": -1}
    return {**usual, **rest, "outlying": 0.0, "against": [0], **changes}


@pytest.fixture
def table():
    return pd.DataFrame(
        [
            row(task="t", role="target", text="<script>alert(1)</script>", against=[]),
            row(text="=HYPERLINK(1)"),
            row(row=1, text="bad <b>", p_wrong=0.9, suspect=True, suggested="<i>y"),
            row(row=2, text="twice", duplicate_of=0),
        ]
    )


def test_the_page_is_escaped_and_has_the_worst_rows_first(table):
    page = rows_page(table, row_counts(table), "a <title>")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "a &lt;title&gt;" in page
    assert "x → &lt;i&gt;y?" in page
    assert page.index("bad &lt;b&gt;") < page.index("=HYPERLINK")
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "http" not in page


def test_an_export_leaves_out_suspects_and_duplicates_and_marks_formulas(table, tmp_path):
    counts = export_rows(table, tmp_path / "out.csv", None, False, False)
    assert counts == {"rows": 1, "suspects": 1, "duplicates": 1, "marked": 1}
    written = pd.read_csv(tmp_path / "out.csv")
    assert written.to_dict("records") == [
        {"text": "'=HYPERLINK(1)", "label": "x", "task": "a", "weight": 0.9}
    ]
    export_rows(table, tmp_path / "raw.csv", "a", True, False)
    assert pd.read_csv(tmp_path / "raw.csv")["text"].tolist() == ["=HYPERLINK(1)"]


def test_sgg_rows(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "scored"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "finished", "settings": {}, "command": "score"}))
    runner = CliRunner()
    told = runner.invoke(app, ["rows", "scored"])
    assert told.exit_code == 2
    assert "has no scores of rows; make them with `sgg score CONFIG --rows`" in told.stderr
    table.to_parquet(folder / "rows.parquet")
    assert len(read_rows(folder)) == 4
    shown = runner.invoke(app, ["rows", "scored", "--source", "a", "--json", "--export", "kept.jsonl"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert [one["text"] for one in found["rows"]] == ["bad <b>", "=HYPERLINK(1)", "twice"]
    assert found["exported"]["rows"] == 1
    printed = runner.invoke(app, ["rows", "scored", "--most", "1"]).stdout
    assert "90 %" in printed
    assert "bad <b>" in printed
    assert "twice" not in printed
    assert not printed.startswith("{")
    for arguments, said in (
        (["--source", "b"], "--source: there is no task 'b' in this run; it has: t, a"),
        (["--export", "kept.jsonl"], "--export: kept.jsonl exists already"),
        (["--export", "kept.txt"], "--export: kept.txt must end in"),
    ):
        told = runner.invoke(app, ["rows", "scored", *arguments])
        assert told.exit_code == 2
        assert said in told.stderr
    assert runner.invoke(app, ["rows", "none"]).exit_code == 2


def test_less_trains_once_for_all_targets_of_these_sources(
    make_config, lm, database, small_shards, monkeypatch, tmp_path
):
    asked, trained = [], []
    plain, train = TaskWorker.row_shards, TaskWorker.warm_up

    def row_shards(self, rows, part, bounds, paths, checkpoints=None):
        asked.append((part.name, checkpoints is not None))
        return plain(self, rows, part, bounds, paths, checkpoints)

    def warm_up(self, rows, parts):
        trained.append([(part.name, len(part.train)) for part in parts])
        return train(self, rows, parts)

    monkeypatch.setattr(TaskWorker, "row_shards", row_shards)
    monkeypatch.setattr(TaskWorker, "warm_up", warm_up)
    adapter = {"peft_type": "lora", "r": 2, "target_modules": ["q_proj", "v_proj"]}
    sources = [one.model_dump(exclude_unset=True) | {"max_rows": 70} for one in make_config().sources]
    common = {
        "model": {"path": str(lm), "adapter": adapter},
        "sources": sources,
        "train": {"max_length": 40},
        "alignment": {
            "row_weighting": "top",
            "row_scores": "less",
            "row_warmup": {"checkpoints": 2, "share": 0.1, "learning_rate": 1e-2},
        },
    }
    executor = InProcessExecutor()
    first = score(make_config(name="first", **common), None, executor, rows=True).rows()
    assert trained == [[("clean", 7), ("flipped", 7)]]
    each = [("target", 1), ("clean", 2), ("flipped", 2)]
    assert asked == [(name, less) for less in (False, True) for name, shards in each for _ in range(shards)]
    means = first.groupby("task")["alignment"].mean()
    assert means["clean"] > means["flipped"]
    kept = first[(first["task"] == "clean") & (first["weight"] > 0)]
    assert len(kept) == 35
    assert kept["alignment"].min() >= first.loc[first["task"] == "clean", "alignment"].median()

    asked.clear()
    again = score(make_config(name="again", target={"shots": 4}, **common), None, executor, rows=True).rows()
    assert asked == [("target", False), ("target", True)]
    assert len(trained) == 1
    assert len(again) == len(first) - 2 * (8 - 4)
    key = shards_of(make_config(**common), load_tasks(make_config())[0], tmp_path, "a")[0].path
    assert key != shards_of(make_config(**common), load_tasks(make_config())[0], tmp_path, "b")[0].path
    (file,) = Path(make_config().ray.storage_path).glob(".row-index/*/checkpoints.npz")
    found = _read(file)
    assert found is not None
    assert [one.steps for one in found] == [1, 2]
    _write(tmp_path / "again.npz", found)
    for one, other in zip(found, _read(tmp_path / "again.npz") or []):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))
    file.write_bytes(b"torn")
    assert _read(file) is None  # it is made again
