import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from sgg_ray.errors import ClusterError
from sgg_ray.secrets import redacted
from sgg_ray.tracking import Tracker
from sgg_ray.tracking.store import reason


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/made/mlflow.db"


@pytest.fixture(scope="module")
def first_start(uri):
    """Two new processes that make a real database at the same time; it takes seconds, so the tests share it."""
    code = (
        "import sys; from sgg_ray.tracking import Tracker; assert 'mlflow' not in sys.modules\n"
        "assert Tracker.start(sys.argv[1], 'tests', 'first').finish()"
    )
    command = [sys.executable, "-c", code, uri]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    return [(*process.communicate(), process.returncode) for process in both]


@pytest.fixture
def problems():
    return []


@pytest.fixture
def tracker(uri, first_start, problems):
    params = {
        "seed": 3,
        "train": {"max_steps": 7, "empty": {}},
        "sources": [{"name": "imdb", "max_rows": None}],
    }
    return Tracker.start(uri, "tests", "run", params, {"sgg.target": "tweets"}, on_problem=problems.append)


class Outage:
    """Makes calls of an MLflow client fail while ``on``."""

    def __init__(self, tracker, monkeypatch, *names):
        self.on, self.calls = True, 0
        for name in names:
            monkeypatch.setattr(tracker._client, name, self.wrap(getattr(tracker._client, name)))

    def wrap(self, call):
        def wrapped(*arguments, **options):
            self.calls += 1
            if self.on:
                raise ConnectionError("Connection refused by nobody")
            return call(*arguments, **options)

        return wrapped


def steps_of(tracker, name):
    return [metric.step for metric in tracker._client.get_metric_history(tracker.run_id, name)]


def test_a_run_is_kept_with_all_that_was_sent(tracker, tmp_path, problems):
    tracker.log_metrics((step, {"loss": 1.0 / (step + 1), "skipped": False}) for step in range(1234))
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "weights").write_text("w")
    (tmp_path / "scores.json").write_text("{}")
    tracker.log_artifact(tmp_path / "scores.json")
    tracker.log_artifacts([tmp_path / "scores.json"], "again")
    tracker.log_artifact(tmp_path / "model", "model")
    assert tracker.finish()
    run = tracker._client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params == {
        "seed": "3",
        "train.max_steps": "7",
        "train.empty": "{}",
        "sources.imdb.name": "imdb",
        "sources.imdb.max_rows": "None",
    }
    assert run.data.tags["sgg.target"] == "tweets"
    assert sorted(steps_of(tracker, "loss")) == list(range(1234))
    found = {file.path for file in tracker._client.list_artifacts(tracker.run_id)}
    assert found == {"scores.json", "again", "model"}
    assert tracker._client.list_artifacts(tracker.run_id, "model/deep")[0].path == "model/deep/weights"
    assert problems == []


def test_artifacts_lie_next_to_the_database(tracker, uri):
    place = os.path.dirname(uri.removeprefix("sqlite:///"))
    assert tracker._client.get_run(tracker.run_id).info.artifact_uri.startswith(f"file://{place}/mlruns/")


def test_values_that_are_no_numbers_are_left_out_and_names_made_valid(tracker, problems):
    values = {"nan": float("nan"), "inf": float("inf"), "none": None, "text": "x"}
    tracker.log_metrics([(0, {**values, "score/im[d]b": np.float32(0.5), "n" * 300: 1})])
    assert tracker.finish()
    assert tracker._client.get_run(tracker.run_id).data.metrics == {"score/im_d_b": 0.5, "n" * 250: 1.0}
    assert problems == []


def test_a_database_that_a_full_disk_cut_short_is_made_anew(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def full(*_):
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            database.execute("create table secrets (half text)")
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("sgg_ray.tracking.tracker.connect", full)
        with pytest.raises(
            ClusterError, match=r"disk is full; free some of the disk, and give the same command"
        ):
            Tracker.start(uri, "tests", "run")
    assert Tracker.start(uri, "tests", "run").finish()


def test_a_run_goes_on_under_its_id(tracker, uri):
    tracker.log_metrics([(0, {"loss": 1.0})])
    tracker.finish("failed")
    again = Tracker.start(uri, "tests", "run", {"seed": 4, "more": 1}, run_id=tracker.run_id)
    assert again.run_id == tracker.run_id
    assert again._client.get_run(again.run_id).info.status == "RUNNING"
    again.log_metrics([(0, {"loss": 1.0}), (1, {"loss": 0.5})])
    again.finish()
    run = again._client.get_run(again.run_id)
    assert (run.data.params["seed"], run.data.params["more"]) == ("3", "1")
    assert run.info.status == "FINISHED"


def test_a_run_that_is_gone_is_replaced(tracker, uri):
    tracker._client.delete_run(tracker.run_id)
    for lost in (tracker.run_id, "0" * 32):
        assert Tracker.start(uri, "tests", "run", run_id=lost).run_id != lost


def test_an_outage_delays_and_loses_nothing(tracker, monkeypatch, tmp_path, problems):
    outage = Outage(tracker, monkeypatch, "log_batch")
    (tmp_path / "file").write_text("x")
    for step in range(5):
        tracker.log_metrics([(step, {"loss": 1.0})])
    tracker.log_artifact(tmp_path / "file")
    assert outage.calls == 1  # not asked again before the pause is over
    assert len(problems) == 1
    assert "Connection refused by nobody; the run continues" in problems[0]
    tracker._retry_at = 0.0
    tracker.log_metrics([(5, {"loss": 1.0})])
    assert outage.calls == 2
    outage.on = False
    tracker._retry_at = 0.0
    tracker.log_metrics([(6, {"loss": 1.0})])
    assert sorted(steps_of(tracker, "loss")) == list(range(7))
    assert [file.path for file in tracker._client.list_artifacts(tracker.run_id)] == ["file"]
    assert tracker.finish()
    assert len(problems) == 1


def test_an_answer_that_is_lost_does_not_double_the_metrics(tracker, monkeypatch):
    send = tracker._client.log_batch

    def send_and_fail(*arguments, **options):
        send(*arguments, **options)
        raise ConnectionError("read timed out")

    monkeypatch.setattr(tracker._client, "log_batch", send_and_fail)
    tracker.log_metrics([(step, {"loss": 1.0}) for step in range(3)])
    monkeypatch.setattr(tracker._client, "log_batch", send)
    assert tracker.finish()
    assert sorted(steps_of(tracker, "loss")) == [0, 1, 2]


def test_the_end_during_an_outage_says_what_is_missing_and_can_be_tried_again(tracker, monkeypatch, problems):
    outage = Outage(tracker, monkeypatch, "log_batch", "set_terminated")
    tracker.log_metrics([(0, {"loss": 1.0, "source_loss": 2.0})])
    assert tracker.finish() is False
    assert "did not take 2 metrics and 0 artifacts" in problems[-1]
    assert "they are in the run folder" in problems[-1]
    outage.on = False
    assert tracker.finish() is True


def test_a_store_that_goes_away_before_the_end_is_told(tracker, monkeypatch, problems):
    Outage(tracker, monkeypatch, "set_terminated")
    assert tracker.finish() is False
    assert "still shows run" in problems[-1]


def test_a_missing_file_does_not_hold_up_the_others(tracker, tmp_path, problems):
    (tmp_path / "there").write_text("x")
    tracker.log_artifacts([tmp_path / "missing", tmp_path / "there"])
    assert tracker.finish()
    assert "missing is not there" in problems[0]
    assert [file.path for file in tracker._client.list_artifacts(tracker.run_id)] == ["there"]


def test_problems_are_warnings_by_default(uri, first_start, monkeypatch):
    tracker = Tracker.start(uri, "tests", "run")
    Outage(tracker, monkeypatch, "log_batch")
    with pytest.warns(RuntimeWarning, match="the run continues"):
        tracker.log_metrics([(0, {"loss": 1.0})])


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("http://127.0.0.1:9", "Connection refused"),
        ("", "tracking.uri: is empty"),
        ("nonsense://x", "unsupported URI"),
        ("./mlruns", "tracking.uri: cannot use MLflow at ./mlruns"),
        ("postgresql://me:secret@127.0.0.1:1/db", "postgresql://***@127.0.0.1:1/db"),
    ],
)
def test_an_address_that_cannot_be_used_is_found_at_the_start(bad, expected):
    with pytest.raises(ClusterError) as caught:
        Tracker.start(bad, "tests", "run")
    assert expected in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_file_that_is_no_database_is_found_at_the_start(tmp_path):
    (tmp_path / "notes.db").write_text("not a database " * 500)
    with pytest.raises(ClusterError, match="file is not a database"):
        Tracker.start(f"sqlite:///{tmp_path}/notes.db", "tests", "run")


def test_a_deleted_experiment_is_an_error_with_a_way_out(uri, first_start):
    tracker = Tracker.start(uri, "to be deleted", "run")
    tracker._client.delete_experiment(tracker.experiment_id)
    with pytest.raises(ClusterError, match=r"was deleted at .* choose another name, or restore it"):
        Tracker.start(uri, "to be deleted", "run")


def test_the_reason_is_the_innermost_cause():
    outer = RuntimeError("request to http://me:secret@host failed " + "x" * 500)
    assert len(reason(outer)) <= 240
    assert "secret" not in reason(outer)
    outer.__cause__ = OSError(111, "Connection refused")
    assert reason(outer) == "[Errno 111] Connection refused"
    assert redacted("see https://host/a@b") == "see https://host/a@b"


def test_several_first_starts_at_once_work_and_are_quiet(first_start):
    assert first_start == [("", "", 0)] * 2
