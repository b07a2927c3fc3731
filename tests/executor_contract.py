"""What every executor promises; run against both of them, so that logic tested with one holds with the other."""

import pytest

from sgg_ray.errors import DataError
from sgg_ray.orchestration.runtime.executor import Later, Resources, WorkerDied, WorkerGone, WorkFailed

NEEDS = Resources(cpus=0.5)


class Counter:
    """Counts its calls, fails and dies as it is told."""

    def __init__(self, start: int = 0):
        self.count = start

    def add(self, number: int) -> int:
        self.count += number
        return self.count

    def fetch(self, later: Later[int]) -> int:
        return later.get()

    def wrong(self) -> None:
        raise DataError("target.path: no such file")

    def broken(self) -> None:
        raise KeyError("nobody expects this")

    def die(self) -> None:
        raise SystemExit(3)


def double(number: int) -> int:
    return 2 * number


def wrong(number: int) -> int:
    raise DataError("no rows")


def calls_of_an_actor_run_in_order_and_keep_its_state(executor):
    actor = executor.start(Counter, 10, resources=NEEDS)
    asked = [actor.call(Counter.add, number) for number in (1, 2, 3)]
    assert [reference.get() for reference in asked] == [11, 13, 16]
    assert asked[0].get() == 11  # an answer stays
    actor.kill()


def a_reference_is_fetched_before_the_call_and_a_later_one_by_it(executor):
    actor = executor.start(Counter, resources=NEEDS)
    stored = executor.put(5)
    first = actor.call(Counter.add, stored)
    assert actor.call(Counter.add, first).get() == 10
    assert actor.call(Counter.fetch, Later(first)).get() == 5
    actor.kill()


def what_the_work_raises_arrives_as_that(executor):
    actor = executor.start(Counter, resources=NEEDS)
    with pytest.raises(DataError, match=r"^target\.path: no such file$") as caught:
        actor.call(Counter.wrong).get()
    assert list(caught.value.problems) == ["target.path: no such file"]
    assert actor.call(Counter.add, 1).get() == 1  # and the process goes on
    failed = executor.submit(wrong, 1, resources=NEEDS)
    with pytest.raises(DataError, match="no rows"):
        actor.call(Counter.add, failed).get()  # so does what it was to be an argument of
    actor.kill()


def what_nobody_expects_is_told_from_what_is_wrong(executor):
    actor = executor.start(Counter, resources=NEEDS)
    with pytest.raises(WorkFailed, match="nobody expects this"):
        actor.call(Counter.broken).get()
    actor.kill()


def a_process_that_dies_for_good_is_gone(executor):
    actor = executor.start(Counter, resources=NEEDS)
    with pytest.raises(WorkerGone):
        actor.call(Counter.die).get()
    with pytest.raises(WorkerGone):
        actor.call(Counter.add, 1).get()


def a_killed_actor_answers_no_more(executor):
    actor = executor.start(Counter, resources=NEEDS)
    assert actor.call(Counter.add, 1).get() == 1
    actor.kill()
    with pytest.raises(WorkerDied):
        actor.call(Counter.add, 1).get()


def waiting_returns_what_is_done_as_it_was_asked_for(executor):
    asked = [executor.submit(double, number, resources=NEEDS) for number in range(3)]
    done = executor.wait(asked, count=3)
    assert {id(reference) for reference in done} == {id(reference) for reference in asked}
    assert [reference.get() for reference in asked] == [0, 2, 4]
    assert len(executor.wait(asked)) == 1
    assert len(executor.wait(asked, count=3, seconds=0)) == 3


CONTRACT = [
    calls_of_an_actor_run_in_order_and_keep_its_state,
    a_reference_is_fetched_before_the_call_and_a_later_one_by_it,
    what_the_work_raises_arrives_as_that,
    what_nobody_expects_is_told_from_what_is_wrong,
    a_process_that_dies_for_good_is_gone,
    a_killed_actor_answers_no_more,
    waiting_returns_what_is_done_as_it_was_asked_for,
]
