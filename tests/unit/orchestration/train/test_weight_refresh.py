"""A training that asks for scores does not wait for its question to be sent, let alone answered."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.train.weight_refresh import RefreshedWeights

SECONDS = 60  # for a thread that should be there at once


class Workers:
    """Stands in for the task workers: takes a question when it may, and has the answers ready when told so."""

    def __init__(self):
        self.may_take, self.taken = threading.Event(), threading.Event()
        self.answered, self.asked, self.problem = False, [], None
        self.failed = set()

    def request(self, step, state):
        assert self.may_take.wait(SECONDS)
        self.asked.append((step, state.copy()))
        self.taken.set()
        if self.problem is not None:
            raise self.problem
        return SimpleNamespace(step=step, is_done=lambda: self.answered)

    def collect(self, pending):
        rows = [
            SimpleNamespace(source=name, score=None if name in self.failed else 1.0, note="no memory")
            for name in ("clean", "idle")
        ]
        return SimpleNamespace(step=pending.step, weights={"clean": float(pending.step)}, sources=rows)


@pytest.fixture
def asked():
    workers, problems = Workers(), []
    return (
        workers,
        RefreshedWeights(workers, {"clean": 1.0, "idle": 0.0}, on_problem=problems.append),
        problems,
    )


def wait_for_question(workers, weights):
    workers.may_take.set()
    assert workers.taken.wait(SECONDS)
    weights._asked.exception(SECONDS)


def test_it_sends_the_parameters_of_the_step_that_asked(asked):
    workers, weights, problems = asked
    values = torch.arange(5.0)
    assert weights.refresh(4, values) is None  # comes back although nobody takes the question
    values.add_(100)  # the next steps
    wait_for_question(workers, weights)
    ((step, state),) = workers.asked
    assert step == 4
    np.testing.assert_array_equal(state, np.arange(5.0))
    assert problems == []


def test_a_question_on_its_way_and_one_without_answer_are_late(asked):
    workers, weights, problems = asked
    weights.refresh(4, torch.zeros(1))
    assert not weights.is_done()
    assert weights.refresh(8, torch.zeros(1)) is None
    wait_for_question(workers, weights)
    assert not weights.is_done()
    assert weights.refresh(12, torch.zeros(1)) is None
    assert problems == [f"scores of step 4 are late at step {step}: the old weights stay" for step in (8, 12)]
    workers.answered = True
    assert weights.is_done()
    assert weights.refresh(16, torch.zeros(1)) == {"clean": 4.0}
    weights._asked.result(SECONDS)
    assert [step for step, _ in workers.asked] == [4, 16]


def test_a_question_that_could_not_be_sent_is_a_problem_and_asked_again(asked):
    workers, weights, problems = asked
    workers.problem = ClusterError("no room")
    weights.refresh(4, torch.zeros(1))
    wait_for_question(workers, weights)
    workers.problem = None
    assert weights.refresh(8, torch.zeros(1)) is None
    assert problems == ["scores of step 4 failed (no room): the old weights stay"]
    weights._asked.result(SECONDS)
    workers.answered = True
    assert weights.refresh(12, torch.zeros(1)) == {"clean": 8.0}


@pytest.mark.parametrize("failed", [{"clean"}, {"clean", "idle"}])
def test_a_source_with_a_weight_that_has_no_score_changes_nothing(asked, failed):
    workers, weights, problems = asked
    workers.answered, workers.failed = True, failed
    weights.refresh(4, torch.zeros(1))
    wait_for_question(workers, weights)
    assert weights.refresh(8, torch.zeros(1)) is None
    assert problems == ["scores of step 4 failed (of clean: no memory): the old weights stay"]
    weights._asked.result(SECONDS)
    workers.failed = {"idle"}  # has had none since before the training
    assert weights.refresh(12, torch.zeros(1)) == {"clean": 8.0}
    assert len(problems) == 1
