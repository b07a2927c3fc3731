"""What is asked of which task worker, and what becomes of one that fails; all in this process."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy

from sgg_ray.errors import ClusterError, TrainingError
from sgg_ray.models import build_model
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.score import pending_scores, task_workers
from sgg_ray.orchestration.score.score_driver import score
from sgg_ray.orchestration.score.task_actor import TaskWorker
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.scoring import TaskSummariser, alignment_report, pool_gradients
from sgg_ray.tasks import load_tasks


class Progress(NullListener):
    def __init__(self):
        self.told = []

    def advance(self, done, total, what, text=""):
        self.told.append((done, total, what))


@pytest.fixture
def five_tasks(make_config, data, tmp_path):
    """A target with a clean, a flipped, another label set's and a one-class source."""
    single = [row for row in toy.sentences(60, seed=7) if row["label"] == "positive"]
    clean, rows = str(data / "clean.jsonl"), str(toy.write_rows(tmp_path / "single.jsonl", single))
    config = make_config(
        sources=[
            {"name": "clean", "path": clean},
            {"name": "flipped", "path": clean, "flip_labels": 1.0},
            {"name": "other", "path": str(data / "other.jsonl")},
            {"name": "single", "path": rows, "labels": ["negative", "positive"]},
        ],
        ray={"task_workers": 2},
    )
    return config, *load_tasks(config)


@pytest.fixture
def start(five_tasks):
    def make(executor=None):
        return TaskWorkers.start(*five_tasks, executor=executor or InProcessExecutor([Resources(cpus=2)]))

    return make


def same(found, expected):
    return found.sources == expected.sources and np.array_equal(
        found.similarity, expected.similarity, equal_nan=True
    )


def test_workers_report_what_one_process_reports(five_tasks, start):
    config, target, sources = five_tasks
    workers = start()
    report = workers.score()
    summariser = TaskSummariser(build_model(config, [target]), config.alignment, config.seed)
    assert same(report, alignment_report(pool_gradients(summariser, target, sources), config.alignment))
    assert report.details == {"model": config.model.path, "seed": config.seed}
    owners = [id(workers.workers[name]) for name in ("target", "clean", "flipped", "other", "single")]
    first, second = owners[:2]
    assert first != second
    assert owners == [first, second, first, second, first]  # five tasks take turns over two workers


def test_a_source_that_fails_is_reported_and_left_out(start):
    rows = {row.source: row for row in start().score().sources}
    assert (rows["single"].verdict, rows["single"].weight, rows["single"].score) == ("failed", 0.0, None)
    assert "one class only" in rows["single"].note
    assert sum(row.weight for row in rows.values()) == pytest.approx(1.0)


def test_a_target_that_fails_is_an_error(start, monkeypatch):
    def broken(*_):
        raise TrainingError("target: gradients are not finite")

    monkeypatch.setattr(TaskSummariser, "target", broken)
    with pytest.raises(TrainingError, match=r"^target: gradients are not finite$"):
        start().score()


def dies(monkeypatch, method, times, of=None):
    """The process of a worker ends the first ``times`` that it is asked for this, of the task ``of`` alone."""
    plain, deaths = getattr(TaskWorker, method), []

    def mortal(self, rows, name, *arguments):
        if (of is None or name == of) and len(deaths) < times:
            deaths.append(name)
            raise SystemExit(9)
        return plain(self, rows, name, *arguments)

    mortal.__name__ = method
    monkeypatch.setattr(TaskWorker, method, mortal)
    return deaths


@pytest.mark.parametrize("method", ["target", "source"])
def test_a_worker_that_dies_is_asked_again_and_answers_the_same(start, monkeypatch, method):
    undisturbed = start().score()
    deaths = dies(monkeypatch, method, task_workers.RESTARTS)
    assert same(start().score(), undisturbed)
    assert len(deaths) == task_workers.RESTARTS


def test_a_source_whose_worker_keeps_dying_is_left_out_with_what_the_worker_had_still_to_do(
    start, monkeypatch
):
    dies(monkeypatch, "source", 99, of="other")
    rows = {row.source: row for row in start().score().sources}
    assert rows["other"].verdict == "failed"
    assert rows["other"].note == "a task worker failed: the process ended with 9"
    assert rows["flipped"].verdict == "harmful"  # the other worker's


def test_a_targets_worker_that_keeps_dying_is_an_error(start, monkeypatch):
    dies(monkeypatch, "target", 99)
    with pytest.raises(ClusterError, match=r"^a task worker failed: the process ended with 9$"):
        start().score()


def test_workers_that_cannot_load_the_model_are_ended_and_the_reason_is_told(start, monkeypatch):
    def broken(self, rows):
        raise TrainingError("no memory")

    broken.__name__ = "load"
    monkeypatch.setattr(TaskWorker, "load", broken)
    executor = InProcessExecutor([Resources(cpus=2)])
    started, plain = [], executor.start

    def remember(*arguments, **options):
        started.append(plain(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(executor, "start", remember)
    with pytest.raises(TrainingError, match="no memory"):
        start(executor)
    assert len(started) == 2
    assert all(actor.gone for actor in started)


def test_progress_is_told_answer_by_answer(five_tasks):
    heard = Progress()
    workers = TaskWorkers.start(*five_tasks, listener=heard, executor=InProcessExecutor([Resources(cpus=2)]))
    assert heard.told == [(1, 2, "task workers"), (2, 2, "task workers")]
    heard.told.clear()
    workers.score(listener=heard)
    # The target in two spaces, because one source has labels of its own, and four sources.
    assert heard.told == [(done, 6, "tasks summarised") for done in range(1, 7)]


def test_workers_that_do_not_answer_in_time_are_an_error(start, monkeypatch):
    workers = start()
    monkeypatch.setattr(InProcessExecutor, "wait", lambda self, references, count=1, seconds=None: [])
    monkeypatch.setattr(task_workers, "SCORE_SECONDS", 0)
    with pytest.raises(ClusterError, match=r"^only 0 of 6 tasks summarised within 0 s; look at the cluster"):
        workers.score()
    assert pending_scores.POLL_SECONDS < task_workers.START_SECONDS


def test_all_are_asked_at_the_step_state_and_shots_that_were_given(start, monkeypatch):
    seen = []

    def target(self, rows, name, space, step, state, kept):
        seen.append((name, step, state.tolist(), kept.tolist()))
        raise TrainingError("enough")

    def source(self, rows, name, space, step, state, gradients, kept):
        seen.append((name, step, state.tolist()))

    monkeypatch.setattr(TaskWorker, "target", target)
    monkeypatch.setattr(TaskWorker, "source", source)
    workers = start()
    pending = workers.request(12, np.array([1.0, 2.0]), kept=np.array([0, 1, 3]))
    assert not pending.is_done()
    workers.executor.wait(pending.references, len(pending.references))
    assert pending.is_done()
    assert [one for one in seen if one[0] == "target"] == [("target", 12, [1.0, 2.0], [0, 1, 3])] * 2
    # The others share the target's worker: what they need of it has failed, so they are not begun.
    assert [one for one in seen if one[0] != "target"] == [
        (name, 12, [1.0, 2.0]) for name in ("clean", "other")
    ]
    with pytest.raises(TrainingError, match="enough"):
        workers.collect(pending)


def test_layers_leave_out_a_source_that_cannot_be_compared(start):
    layers = start().layers()
    assert set(layers) == {"clean", "flipped", "other"}
    assert layers["clean"]["1"] > 0 > layers["flipped"]["1"]


@pytest.mark.usefixtures("database")
def test_a_scoring_without_any_score_has_failed_and_is_done_again(five_tasks):
    config, _, _ = five_tasks
    config = config.model_copy(update={"sources": config.sources[-1:]})
    for _ in range(2):
        with pytest.raises(ClusterError, match=r"^no source could be scored; of 'single': .*one class only"):
            score(config, executor=InProcessExecutor())
    record = json.loads((Path(config.ray.storage_path) / config.name / "run.json").read_text())
    assert (record["status"], len(record["resumed"])) == ("failed", 1)


@pytest.mark.usefixtures("database")
def test_a_picture_that_cannot_be_drawn_costs_no_score(make_config, monkeypatch):
    class Notes(NullListener):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    def fail(*_):
        raise ClusterError("no room")

    monkeypatch.setattr(TaskWorkers, "layers", fail)
    heard = Notes()
    result = score(make_config(name="flat"), heard, InProcessExecutor())
    assert "no comparison layer by layer: no room" in heard.notes
    assert result.report.layers == {}
    assert math.isfinite(result.report.sources[0].score.value)


def test_rows_that_are_left_out_are_left_out_of_the_scores(make_config, data):
    config = make_config(sources=[{"name": "some", "path": str(data / "clean.jsonl"), "flip_labels": 0.5}])
    target, (some,) = load_tasks(config)
    right = {
        row["text"]: row["label"] for row in map(json.loads, (data / "clean.jsonl").read_text().splitlines())
    }
    sound = [
        row
        for row, text in enumerate(some.train.texts)
        if right[text] == some.labels[int(some.train.labels[row])]
    ]
    workers = TaskWorkers.start(config, target, [some], executor=InProcessExecutor())
    before = workers.score().sources[0]
    after = replace(workers, kept={"some": np.array(sound)}).score().sources[0]
    assert (before.rows, after.rows) == (len(some.train), len(sound))
    assert after.score.value > before.score.value
    cut = replace(some, train=some.train.take(sound))
    alone = TaskWorkers.start(config, target, [cut], executor=InProcessExecutor()).score().sources[0]
    assert after.score.to_dict() == pytest.approx(alone.score.to_dict(), abs=1e-6)
