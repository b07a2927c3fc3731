"""Scores from actors are the scores of one process, whoever shares a worker and whichever worker dies."""

import json
import time

import actors
import pytest
import toy
from mlflow import MlflowClient
from typer.testing import CliRunner

from sgg_ray.alignment import verdict
from sgg_ray.cli import app
from sgg_ray.models import build_model
from sgg_ray.orchestration.score.score_driver import score
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import load_tasks

pytestmark = pytest.mark.ray


@pytest.fixture
def five_tasks(make_config, data, tmp_path):
    """A target with a clean, a flipped, another label set's and a one-class source."""
    single = [row for row in toy.sentences(60, seed=7) if row["label"] == "positive"]
    clean = str(data / "clean.jsonl")
    config = make_config(
        sources=[
            {"name": "clean", "path": clean},
            {"name": "flipped", "path": clean, "flip_labels": 1.0},
            {"name": "other", "path": str(data / "other.jsonl")},
            {
                "name": "single",
                "path": str(toy.write_rows(tmp_path / "single.jsonl", single)),
                "labels": ["negative", "positive"],
            },
        ],
        ray={"task_workers": 2},
    )
    return config, *load_tasks(config)


def in_process(config, target, sources):
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    return score_tasks(summariser, target, sources)


@pytest.mark.slow
def test_actors_score_as_one_process_does_and_survive_kills(five_tasks):
    config, target, sources = five_tasks
    expected = in_process(config, target, [source for source in sources if source.name != "single"])
    task_workers = TaskWorkers.start(config, target, sources)
    try:
        assert (
            len({id(actor) for actor in task_workers.workers.values()}) == 2
        )  # five tasks share two workers
        report = task_workers.score()
        workers = actors.processes("TaskWorker")
        assert len(workers) == 2

        pending = task_workers.request(0)
        assert not pending.is_done()
        for worker in workers:  # one of them holds the target
            actors.kill(worker)
        again = wait_for(task_workers, pending)
    finally:
        task_workers.close()

    for found in (report, again):
        rows = {row.source: row for row in found.sources}
        for name, single in expected.items():
            assert rows[name].score.to_dict() == pytest.approx(single.to_dict(), abs=1e-5)
            assert rows[name].verdict == verdict(single)
        assert rows["clean"].weight == pytest.approx(1.0, abs=0.5)
        assert rows["flipped"].weight == 0.0
        assert rows["other"].space == "heads of their own"
        # target, clean, flipped, other: with other labels under the best matching, which knows no sign.
        assert found.similarity[1, 2] == pytest.approx(-1.0, abs=1e-4)
        assert found.similarity[1, 3] == pytest.approx(found.similarity[2, 3], abs=1e-4)
        assert found.similarity[1, 3] > 0.3
        # A source that cannot be scored is said to have failed, and is left out.
        assert (rows["single"].verdict, rows["single"].weight) == ("failed", 0.0)
        assert "one class only" in rows["single"].note
        assert found.ranked()[-2].source == "flipped"
    assert not {worker.pid for worker in workers} & {worker.pid for worker in actors.processes("TaskWorker")}


def wait_for(task_workers, pending):
    deadline = time.monotonic() + 120
    while not pending.is_done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return task_workers.collect(pending)


@pytest.mark.usefixtures("database")
def test_a_scoring_leaves_its_folder_and_is_not_done_twice(make_config):
    config = make_config(name="scored", ray={"task_workers": 1})
    first = score(config)
    files = {path.name for path in first.folder.iterdir()}
    assert {
        "config.yaml",
        "run.json",
        "scores.json",
        "scores.parquet",
        "scores.png",
        "similarity.png",
        "layers.png",
        "report.html",
    } <= files
    assert first.report.layers["clean"]["1"] > 0 > first.report.layers["flipped"]["1"]
    assert [row.verdict for row in first.report.sources] == ["helps", "harmful"]
    stored = json.loads((first.folder / "scores.json").read_text())
    assert stored == json.loads(json.dumps(first.report.to_dict()))

    record = json.loads((first.folder / "run.json").read_text())
    assert record["status"] == "finished"
    run = MlflowClient(config.tracking.uri).get_run(record["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["score/clean"] == pytest.approx(first.report.sources[0].score.value)
    assert run.data.params["sources.flipped.flip_labels"] == "1.0"

    heard = actors.Recorder()
    again = score(config, heard)
    assert again.cached
    assert again.report.to_dict() == first.report.to_dict()
    assert heard.seen == {}
    assert actors.all_end("TaskWorker")


@pytest.mark.parametrize("verb", ["score", "train"])
def test_more_than_the_cluster_has_is_refused(write_config, tmp_path, verb):
    settings = write_config(ray={"num_workers": 5, "gpus_per_worker": 1, "gpus_per_task_worker": 1})
    result = CliRunner().invoke(app, [verb, str(settings)])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "ray.num_workers",
        "ray.gpus_per_worker",
        "ray.gpus_per_task_worker",
    ]
    assert "need 5 CPUs, the cluster has 4" in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.yaml"]


def test_an_address_without_a_cluster_is_one_line(write_config, tmp_path, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", refuse_connection)
    result = CliRunner().invoke(app, ["score", str(write_config(ray={"address": "ray://nowhere:10001"}))])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ray.address: no Ray cluster answers at 'ray://nowhere:10001'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.yaml"]


def refuse_connection(*_, **__):
    raise ConnectionError("ray client connection timeout\nand more")
