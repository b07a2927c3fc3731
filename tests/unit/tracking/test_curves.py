"""``Tracker.log_curve`` against a real MLflow database: a curve that is told again and again arrives once."""

import math

import pytest

from sgg_ray.tracking import Tracker


@pytest.fixture
def uri(database):
    return f"sqlite:///{database}"


@pytest.fixture
def tracker(uri):
    return Tracker.start(uri, "tests", "run")


def curve(first, end, **offsets):
    """Points of the steps from ``first`` to before ``end``: each metric is its offset and the step."""
    return [(step, {name: offset + step for name, offset in offsets.items()}) for step in range(first, end)]


def stored(tracker, name):
    """What the database has of a metric: (step, value), by step."""
    history = tracker._client.get_metric_history(tracker.run_id, name)
    return sorted((point.step, point.value) for point in history)


class Store:
    """What ``tracker`` sends: ``batches`` of (metric, step). It does not arrive, or the answer is lost, if asked so."""

    def __init__(self, tracker, monkeypatch):
        self.batches, self.away, self.loses_answers = [], False, False
        self._send = tracker._client.log_batch
        monkeypatch.setattr(tracker._client, "log_batch", self._log_batch)

    def _log_batch(self, run_id, metrics):
        if self.away:
            raise ConnectionError("Connection refused by nobody")
        self._send(run_id, metrics=metrics)
        if self.loses_answers:
            raise ConnectionError("read timed out")
        self.batches.append([(metric.key, metric.step) for metric in metrics])


def test_only_points_beyond_the_last_one_are_sent(tracker, monkeypatch):
    store = Store(tracker, monkeypatch)
    tracker.log_curve(curve(0, 3, loss=10))
    tracker.log_curve(curve(0, 5, loss=10))
    tracker.log_curve(curve(0, 5, loss=10))
    assert store.batches == [[("loss", 0), ("loss", 1), ("loss", 2)], [("loss", 3), ("loss", 4)]]
    assert stored(tracker, "loss") == [(step, 10.0 + step) for step in range(5)]


def test_each_metric_has_a_last_point_of_its_own(tracker):
    tracker.log_curve([*curve(0, 2, loss=10), *curve(2, 4, loss=10, cosine=20)])
    tracker.log_curve(curve(3, 6, loss=10, cosine=20))
    assert stored(tracker, "loss") == [(step, 10.0 + step) for step in range(6)]
    assert stored(tracker, "cosine") == [(step, 20.0 + step) for step in range(2, 6)]


def test_a_training_that_started_over_leaves_what_was_told_as_it_is(tracker):
    tracker.log_curve(curve(0, 4, loss=10))
    tracker.log_curve(curve(0, 6, loss=50))
    assert stored(tracker, "loss") == [(0, 10.0), (1, 11.0), (2, 12.0), (3, 13.0), (4, 54.0), (5, 55.0)]


def test_points_that_are_behind_the_last_one_of_the_same_call_are_left_out(tracker):
    tracker.log_curve([(0, {"loss": 1.0}), (2, {"loss": 0.5}), (1, {"loss": 9.0}), (2, {"loss": 9.0})])
    assert stored(tracker, "loss") == [(0, 1.0), (2, 0.5)]


def test_values_that_are_no_numbers_make_a_gap(tracker):
    tracker.log_curve([(0, {"loss": 1.0}), (1, {"loss": math.nan}), (2, {"loss": 0.5, "cosine": None})])
    assert stored(tracker, "loss") == [(0, 1.0), (2, 0.5)]
    assert set(tracker._client.get_run(tracker.run_id).data.metrics) == {"loss"}


def test_a_run_that_goes_on_asks_the_database_what_it_has(tracker, uri, monkeypatch):
    tracker.log_curve(curve(0, 4, loss=10))
    tracker.log_curve(curve(0, 2, cosine=20))
    assert tracker.finish("failed")
    again = Tracker.start(uri, "tests", "run", run_id=tracker.run_id)
    store = Store(again, monkeypatch)
    again.log_curve(curve(0, 5, loss=10, cosine=20))
    assert store.batches == [[("cosine", 2), ("cosine", 3), ("loss", 4), ("cosine", 4)]]
    assert again.finish()
    assert stored(again, "loss") == [(step, 10.0 + step) for step in range(5)]
    assert stored(again, "cosine") == [(step, 20.0 + step) for step in range(5)]


def test_a_child_that_goes_on_asks_the_database_too(tracker):
    child = tracker.child("trial", {"seed": 1}, {})
    child.log_curve(curve(0, 3, loss=10))
    again = tracker.child("trial", {"seed": 1}, {}, run_id=child.run_id)
    again.log_curve(curve(0, 4, loss=10))
    assert stored(child, "loss") == [(step, 10.0 + step) for step in range(4)]
    assert again.run_id == child.run_id


def test_what_an_outage_held_up_arrives_once_and_in_order(tracker, monkeypatch):
    store = Store(tracker, monkeypatch)
    tracker.log_curve(curve(0, 2, loss=10))
    store.away = True
    with pytest.warns(RuntimeWarning, match="Connection refused by nobody; the run continues"):
        tracker.log_curve(curve(0, 4, loss=10))
    tracker.log_curve(curve(0, 5, loss=10))  # within the pause: nothing is tried
    store.away = False
    tracker.log_curve(curve(0, 6, loss=10))
    assert stored(tracker, "loss") == [(0, 10.0), (1, 11.0)]
    assert tracker.finish()
    assert store.batches == [[("loss", 0), ("loss", 1)], [("loss", step) for step in range(2, 6)]]
    assert stored(tracker, "loss") == [(step, 10.0 + step) for step in range(6)]


def test_an_outage_between_two_batches_of_a_long_curve_loses_nothing(tracker, monkeypatch):
    store = Store(tracker, monkeypatch)
    send = store._send

    def second_fails(run_id, metrics):
        if store.batches:
            store.away = True
            raise ConnectionError("Connection reset")
        send(run_id, metrics=metrics)

    store._send = second_fails
    with pytest.warns(RuntimeWarning, match="Connection reset"):
        tracker.log_curve(curve(0, 1500, loss=10))
    assert len(stored(tracker, "loss")) == 1000
    store._send, store.away = send, False
    tracker.log_curve(curve(0, 1501, loss=10))
    assert tracker.finish()
    assert stored(tracker, "loss") == [(step, 10.0 + step) for step in range(1501)]


def test_an_answer_that_is_lost_does_not_double_a_curve_that_is_told_again(tracker, monkeypatch):
    store = Store(tracker, monkeypatch)
    store.loses_answers = True
    with pytest.warns(RuntimeWarning, match="read timed out"):
        tracker.log_curve(curve(0, 3, loss=10))
    store.loses_answers = False
    tracker.log_curve(curve(0, 4, loss=10))
    assert tracker.finish()
    assert stored(tracker, "loss") == [(step, 10.0 + step) for step in range(4)]


def test_the_end_during_an_outage_counts_the_points_that_did_not_arrive(uri, monkeypatch):
    problems = []
    tracker = Tracker.start(uri, "tests", "run", on_problem=problems.append)
    store = Store(tracker, monkeypatch)
    store.away = True
    tracker.log_curve(curve(0, 3, loss=10, cosine=20))
    assert tracker.finish() is False
    assert "did not take 6 metrics and 0 artifacts" in problems[-1]
    store.away = False
    assert tracker.finish() is True
    assert stored(tracker, "cosine") == [(0, 20.0), (1, 21.0), (2, 22.0)]
