"""What a grid does with exceptions that nobody expects."""

import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError

from sgg_ray.orchestration.compare import cell_scheduler as grid
from sgg_ray.orchestration.compare.cell_runner import CellKey, Split

SPLIT = Split(0, "target", 4)
KEY = CellKey("broken", SPLIT)


class Actors:
    """Stands for the actor class; its actors do nothing."""

    def options(self, **resources):
        return self

    def remote(self, config):
        return object()


ERRORS = [
    RayTaskError("train", "", RuntimeError("boom")),
    ActorUnavailableError("The actor is restarting", None),
]


@pytest.mark.parametrize("before", [0, grid.TRIES - 1])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_after_an_unexpected_exception_another_process_goes_on(make_config, monkeypatch, error, before):
    """Not the same one restarted: that happens later, and would take the next cells with it."""

    def fail(reference):
        raise error

    killed, failed, told = [], [], []
    monkeypatch.setattr(grid, "CellActor", Actors())
    monkeypatch.setattr(grid.ray, "kill", killed.append)
    monkeypatch.setattr(grid.ray, "get", fail)
    runner = grid.CellScheduler(
        make_config(),
        1,
        {SPLIT: []},
        {},
        lambda split: False,
        lambda split, scores: None,
        lambda key, result: None,
        lambda key, reason: failed.append(key),
        told.append,
    )
    (slot,) = runner.slots
    runner.tries[KEY] = before
    runner.pending["reference"] = grid._Job(SPLIT, KEY, slot)
    idle = runner._take("reference")
    assert killed == [slot]
    assert idle == runner.slots
    assert len(idle) == 1
    assert slot not in idle
    again = before + 1 < grid.TRIES
    assert list(runner.cells[SPLIT]) == ([KEY] if again else [])
    assert failed == ([] if again else [KEY])
    assert len(told) == again
