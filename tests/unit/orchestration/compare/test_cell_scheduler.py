"""Which cell runs where and when, and what becomes of one that fails; without processes and without training."""

from typing import ClassVar

import pytest

from sgg_ray.errors import CapacityError, ClusterError, TrainingError
from sgg_ray.orchestration.compare import cell_scheduler
from sgg_ray.orchestration.compare.cell_runner import CellKey, Split
from sgg_ray.orchestration.compare.cell_scheduler import TRIES, CellScheduler, slots_for
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor

FIRST, SECOND = Split(0, "target", 4), Split(1, "target", 4)


def cells(split, *strategies):
    return [CellKey(strategy, split) for strategy in strategies]


class ToyActor:
    """Stands for the process of a slot: remembers what it did, and raises what is planned for a cell or split."""

    made = 0
    log: ClassVar[list[tuple[int, object]]] = []
    plan: ClassVar[dict[object, list[BaseException]]] = {}

    def __init__(self, config):
        ToyActor.made += 1
        self.number = ToyActor.made

    def score(self, split):
        return self._do(split, {"scored": split.seed})

    def train(self, key, scores):
        return self._do(key, {"scores": scores})

    def _do(self, what, result):
        self.log.append((self.number, what))
        if self.plan.get(what):
            raise self.plan[what].pop(0)
        return result


@pytest.fixture
def grid(make_config, monkeypatch):
    """Make a scheduler whose answers are kept: results, scores, failures, retries."""
    monkeypatch.setattr(cell_scheduler, "CellActor", ToyActor)
    monkeypatch.setattr(ToyActor, "made", 0)
    monkeypatch.setattr(ToyActor, "log", [])
    monkeypatch.setattr(ToyActor, "plan", {})

    def make(wanted, slots=1, scores=None, sources=True, plan=None):
        ToyActor.plan.update(plan or {})
        told = {"cells": {}, "scores": {}, "failures": {}, "retries": []}
        scheduler = CellScheduler(
            InProcessExecutor(),
            make_config(),
            slots,
            wanted,
            scores or {},
            lambda split: sources,
            told["scores"].__setitem__,
            told["cells"].__setitem__,
            told["failures"].__setitem__,
            told["retries"].append,
        )
        return scheduler, told

    return make


def test_a_split_is_scored_once_and_then_its_cells_get_the_scores_in_their_order(grid):
    wanted = {FIRST: cells(FIRST, "full", "sgg"), SECOND: cells(SECOND, "full")}
    scheduler, told = grid(wanted)
    scheduler.run()
    assert [what for _, what in ToyActor.log] == [FIRST, *wanted[FIRST], SECOND, *wanted[SECOND]]
    assert told["scores"] == {FIRST: {"scored": 0}, SECOND: {"scored": 1}}
    assert told["cells"] == {
        key: {"scores": {"scored": split.seed}} for split, keys in wanted.items() for key in keys
    }
    assert told["failures"] == {}


@pytest.mark.parametrize(("scores", "sources"), [({FIRST: {"known": 1}}, True), ({}, False)])
def test_known_scores_are_used_and_without_sources_there_are_none(grid, scores, sources):
    scheduler, told = grid({FIRST: cells(FIRST, "full")}, scores=scores, sources=sources)
    scheduler.run()
    assert [what for _, what in ToyActor.log] == cells(FIRST, "full")
    assert told["cells"] == {CellKey("full", FIRST): {"scores": scores.get(FIRST, {})}}


def test_what_is_finished_is_not_begun_again(grid):
    scheduler, told = grid({FIRST: [], SECOND: cells(SECOND, "sgg")})
    scheduler.run()
    assert list(told["cells"]) == cells(SECOND, "sgg")
    assert list(told["scores"]) == [SECOND]


def test_a_slot_keeps_to_its_split_and_then_helps_where_most_is_left(grid):
    wanted = {FIRST: cells(FIRST, "a"), SECOND: cells(SECOND, "a", "b", "c", "d")}
    scheduler, _ = grid(wanted, slots=2, sources=False)
    scheduler.run()
    assert ToyActor.log == [
        (1, wanted[FIRST][0]),
        (2, wanted[SECOND][0]),
        (1, wanted[SECOND][1]),  # its own split has none left
        (2, wanted[SECOND][2]),
        (1, wanted[SECOND][3]),
    ]


def test_a_cell_that_fails_is_tried_again_after_the_others_and_given_up_in_the_end(grid):
    bad, good = cells(FIRST, "bad", "good")
    errors = [TrainingError(f"not finite, {number}") for number in range(TRIES)]
    scheduler, told = grid({FIRST: [bad, good]}, sources=False, plan={bad: errors})
    scheduler.run()
    assert [what for _, what in ToyActor.log] == [bad, good, *[bad] * (TRIES - 1)]
    assert told["failures"] == {bad: f"not finite, {TRIES - 1}"}
    assert told["retries"] == [f"not finite, {number}" for number in range(TRIES - 1)]
    assert list(told["cells"]) == [good]
    assert {number for number, _ in ToyActor.log} == {1}  # the cell was wrong, not the process


def test_cells_whose_sources_cannot_be_scored_are_not_trained(grid):
    wanted = {FIRST: cells(FIRST, "a", "b"), SECOND: cells(SECOND, "a")}
    scheduler, told = grid(wanted, plan={FIRST: [TrainingError("not finite")] * TRIES})
    scheduler.run()
    reason = "the sources were not scored: not finite"
    assert told["failures"] == dict.fromkeys(wanted[FIRST], reason)
    assert list(told["cells"]) == wanted[SECOND]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("boom"), "RuntimeError: boom"), (SystemExit(9), "the process ended with 9")],
)
def test_after_an_exception_that_nobody_expects_or_a_death_another_process_goes_on(grid, error, reason):
    """Not the same one restarted: that happens later, and would take the next cells with it."""
    broken, other = cells(FIRST, "broken", "other")
    scheduler, told = grid({FIRST: [broken, other]}, sources=False, plan={broken: [error]})
    (slot,) = scheduler.slots
    scheduler.run()
    assert slot not in scheduler.slots
    assert len(scheduler.slots) == 1
    assert ToyActor.log == [(1, broken), (2, other), (2, broken)]
    assert told["retries"] == [reason]
    assert set(told["cells"]) == {broken, other}


def test_without_any_process_left_the_grid_ends_with_the_reason(grid, monkeypatch):
    monkeypatch.setattr(cell_scheduler, "RESTARTS", 0)
    wanted = cells(FIRST, "a", "b", "c")
    scheduler, told = grid({FIRST: wanted}, slots=2, sources=False, plan={k: [SystemExit(9)] for k in wanted})
    with pytest.raises(
        ClusterError, match=r"^all processes of the grid have died: the process ended with 9$"
    ):
        scheduler.run()
    assert told["cells"] == {}


def test_closing_ends_the_processes(grid):
    scheduler, _ = grid({FIRST: cells(FIRST, "a")})
    scheduler.close()
    assert all(slot.gone for slot in scheduler.slots)


@pytest.mark.parametrize(
    ("nodes", "needs", "most", "slots"),
    [
        ([Resources(4), Resources(3)], {"cpus_per_worker": 2}, None, 3),  # a process is on one node
        ([Resources(4), Resources(3)], {"cpus_per_worker": 2}, 2, 2),
        ([Resources(8, 1)], {"gpus_per_worker": 0.25}, None, 4),
        ([Resources(64)], {}, None, 10),  # no more than there are cells
    ],
)
def test_slots_are_counted_node_by_node(make_config, nodes, needs, most, slots):
    config = make_config(ray={"cpus_per_worker": 1, **needs})
    assert slots_for(config, most, 10, InProcessExecutor(nodes)) == slots


def test_a_cell_that_fits_on_no_node_is_refused(make_config):
    config = make_config(ray={"cpus_per_worker": 3})
    with pytest.raises(CapacityError, match=r"^ray\.cpus_per_worker: no node has the 3 CPUs"):
        slots_for(config, None, 10, InProcessExecutor([Resources(2), Resources(2)]))
