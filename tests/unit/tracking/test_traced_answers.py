"""Answers in MLflow as traces with assessments, and how busy the machine was."""

import os
import time

import mlflow
import pytest

from sgg_ray.tracking import TracedAnswers, Tracker
from sgg_ray.tracking.traced_answers import scorers

ANSWERS = TracedAnswers(
    ["one?", "two?", "three?"], ["Paris.", "the red bus", "no"], ["paris", "a red bus", "yes"]
)


@pytest.fixture
def problems():
    return []


@pytest.fixture
def tracker(database, problems):
    return Tracker.start(f"sqlite:///{database}", "tests", "run", on_problem=problems.append)


def settings():
    return {name: value for name, value in os.environ.items() if "MLFLOW" in name}


def test_every_answer_is_a_trace_with_its_assessments(tracker, problems, capfd):
    before = mlflow.get_tracking_uri(), settings()
    tracker.log_answers(ANSWERS)
    assert tracker.finish()
    assert problems == []
    assert capfd.readouterr().out == ""  # stdout may be kept for JSON
    assert (mlflow.get_tracking_uri(), settings()) == before
    found = tracker._client.search_traces(locations=[tracker.experiment_id], run_id=tracker.run_id)
    told = {}
    for trace in found:
        (span,) = trace.data.spans
        told[span.inputs["prompt"], span.outputs] = {one.name: one.value for one in trace.info.assessments}
    assert told == {
        ("one?", "Paris."): {"exact_match": True, "rouge_l": 1.0, "expected_response": "paris"},
        ("two?", "the red bus"): {
            "exact_match": False,
            "rouge_l": pytest.approx(2 / 3),
            "expected_response": "a red bus",
        },
        ("three?", "no"): {"exact_match": False, "rouge_l": 0.0, "expected_response": "yes"},
    }
    run = tracker._client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {}  # means of a part of the rows would be taken for those of all


def test_answers_that_mlflow_does_not_take_stop_nothing(tracker, problems, monkeypatch):
    def refuse(*arguments, **options):
        raise ConnectionError("nobody there")

    monkeypatch.setattr("mlflow.genai.evaluate", refuse)
    tracker.log_answers(ANSWERS)
    assert problems == [f"MLflow at {tracker.uri} did not take the answers as traces: nobody there"]
    assert tracker.finish()


def test_scorers_judge_one_row():
    exact, rouge = scorers()
    expected = {"expected_response": "a red bus"}
    assert exact(outputs=" A red  BUS.", expectations=expected) is True
    assert rouge(outputs="a blue bus", expectations=expected) == pytest.approx(2 / 3)


def test_system_metrics_are_curves_of_the_run_while_it_lasts(database, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    uri = f"sqlite:///{database}"
    quiet = Tracker.start(uri, "tests", "quiet")
    watched = Tracker.start(uri, "tests", "watched", system_metrics=True)
    time.sleep(1.0)
    assert watched.finish()
    assert quiet.finish()
    found = watched._client.get_run(watched.run_id).data.metrics
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert 0 < found["system/system_memory_usage_percentage"] <= 100
    assert not quiet._client.get_run(quiet.run_id).data.metrics
