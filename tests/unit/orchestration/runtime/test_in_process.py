"""The executor without processes keeps what an executor promises, and dies and restarts as it is told."""

import executor_contract
import pytest
from executor_contract import NEEDS, Counter, double

from sgg_ray.orchestration.runtime.executor import Resources, WorkerDied, WorkerGone, WorkFailed
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor


@pytest.mark.parametrize("promise", executor_contract.CONTRACT, ids=lambda promise: promise.__name__)
def test_in_process(promise):
    promise(InProcessExecutor())


def test_nothing_runs_before_somebody_waits_and_then_one_call_after_the_other():
    executor, seen = InProcessExecutor(), []
    asked = [executor.submit(seen.append, number, resources=NEEDS) for number in range(3)]
    assert executor.wait(asked, seconds=0) == []
    assert seen == []
    assert executor.wait(asked, seconds=1.0) == asked[:1]
    assert seen == [0]
    executor.cancel(asked[1])
    assert executor.wait(asked, count=3) == asked
    assert seen == [0, 2]
    with pytest.raises(WorkFailed, match="cancelled"):
        asked[1].get()


class Mortal(Counter):
    """Dies at the calls that are listed; the list outlives it."""

    def __init__(self, deaths: list[int]):
        super().__init__()
        self.deaths = deaths

    def add(self, number: int) -> int:
        if self.deaths and self.deaths.pop(0):
            raise SystemExit(1)
        return super().add(number)


def test_a_restarted_process_has_lost_its_state_and_the_call_that_killed_it():
    actor = InProcessExecutor().start(Mortal, [0, 1, 0], resources=NEEDS, restarts=1)
    assert actor.call(Mortal.add, 1).get() == 1
    with pytest.raises(WorkerDied) as caught:
        actor.call(Mortal.add, 1).get()
    assert not isinstance(caught.value, WorkerGone)
    assert actor.call(Mortal.add, 1).get() == 1


def test_a_call_is_tried_again_until_no_restart_is_left():
    executor = InProcessExecutor()
    actor = executor.start(Mortal, [1, 1, 0], resources=NEEDS, restarts=2, retries=-1)
    assert actor.call(Mortal.add, 1).get() == 1
    doomed = executor.start(Mortal, [1, 1, 1], resources=NEEDS, restarts=2, retries=-1)
    with pytest.raises(WorkerGone):
        doomed.call(Mortal.add, 1).get()


def test_calls_that_a_killed_process_has_not_answered_are_lost():
    executor = InProcessExecutor()
    actor = executor.start(Counter, resources=NEEDS)
    asked = actor.call(Counter.add, 1)
    actor.kill()
    assert executor.wait([asked]) == [asked]
    with pytest.raises(WorkerGone):
        asked.get()


def test_nodes_are_those_it_claims():
    nodes = [Resources(2), Resources(8, 1)]
    assert InProcessExecutor(nodes).nodes() == nodes
    assert InProcessExecutor().submit(double, 2, resources=NEEDS).get() == 4


@pytest.mark.parametrize(
    ("node", "process", "count"),
    [
        (Resources(8), Resources(3), 2),
        (Resources(8, 2), Resources(1, 0.5), 4),
        (Resources(8), Resources(1, 0.5), 0),
        (Resources(1), Resources(0.1), 10),  # whatever 10 * 0.1 is in floating point
        (Resources(8, 1), Resources(1, 1 / 3), 3),
    ],
)
def test_a_node_holds_whole_processes(node, process, count):
    assert node.room_for(process) == count
