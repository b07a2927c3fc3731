"""A comparison of a model in parts has the cells of a whole model, each trained by a group of workers."""

import cell_worker
import pytest
import torch
from torch import multiprocessing

from sgg_ray.errors import CapacityError, ConfigError
from sgg_ray.models import sharding
from sgg_ray.orchestration.compare.cell_runner import CellKey, Split
from sgg_ray.orchestration.compare.cell_scheduler import slots_for
from sgg_ray.orchestration.compare.compare_driver import compare
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor

GUIDED = {"name": "guided", "guidance": {"lambda_direction": 0.2, "warmup_ratio": 0.0}}
OFF = dict.fromkeys(("lambda_direction", "lambda_magnitude", "lambda_alignment", "lambda_source"), 0)
UNTRAINED = {"name": "untrained", "guidance": OFF, "train": {"method": "zero_shot"}}
SHARDED = {"sharding": "fsdp", "num_workers": 2}
MEASURED = ("accuracy", "macro_f1", "cross_task", "stability", "norm_variation", "alignment", "trainable")


class WithGroups(InProcessExecutor):
    """A cluster in whose groups, of one process here, all cells have to be trained."""

    def __init__(self):
        super().__init__([Resources(4)])
        self.groups = []

    def together(self, function, *arguments, state, **given):
        self.groups.append(state.path)
        return super().together(function, *arguments, state=state, **given)


@pytest.fixture
def make_compared(make_config, lm):
    def make(strategies=(GUIDED, UNTRAINED), name="toy", unseen=(), **ray):
        return make_config(
            name=name,
            model={"path": str(lm)},
            train={"max_steps": 3, "learning_rate": 1e-4, "max_length": 40, "logging_steps": 1},
            compare={"strategies": list(strategies), "seeds": 1, "shots": [4], "unseen": list(unseen)},
            ray=ray,
        )

    return make


@pytest.mark.skipif(not sharding.pytorch_can_shard(), reason="PyTorch is older than 2.8")
@pytest.mark.slow
@pytest.mark.by_hand
def test_a_group_comes_to_what_one_process_comes_to(make_compared, tmp_path):
    keys = [CellKey(name, Split(0, "target", 4)) for name in ("guided", "untrained")]
    config = make_compared(unseen=["flipped"], **SHARDED)
    multiprocessing.spawn(cell_worker.worker, (2, tmp_path, config, keys), nprocs=2)
    scores, found = torch.load(tmp_path / "0.pt", weights_only=False)
    wanted, expected = cell_worker.cells(make_compared(unseen=["flipped"]), keys)
    assert scores.keys() == wanted.keys()
    for way, sources in wanted.items():
        for source, score in sources.items():
            assert scores[way][source]["value"] == pytest.approx(score["value"], abs=1e-4)
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine["strategy"], mine["right"]) == (theirs["strategy"], theirs["right"])
        for name in MEASURED:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4, nan_ok=True), name
    assert expected[0]["norm_variation"] > 0


@pytest.mark.usefixtures("database")
def test_cells_are_given_to_groups(make_compared):
    executor = WithGroups()
    result = compare(make_compared(**SHARDED), executor=executor)
    assert [cell.strategy for cell in result.cells] == ["guided", "untrained"]
    assert len(set(executor.groups)) == len(executor.groups) == 3  # one scores the split
    assert not (result.folder / "ray_groups").exists()


def test_a_grid_has_room_for_whole_groups(make_compared):
    config = make_compared(**{**SHARDED, "num_workers": 3})
    assert slots_for(config, None, 10, InProcessExecutor([Resources(4), Resources(3)])) == 2
    with pytest.raises(
        CapacityError, match=r"ray\.num_workers: a cell needs 3 workers of 1 CPUs .* for 2 of"
    ):
        slots_for(config, None, 10, InProcessExecutor([Resources(2)]))


def test_several_workers_need_a_model_in_parts(make_compared):
    with pytest.raises(ConfigError, match=r"ray\.num_workers: a cell of a comparison trains in one process"):
        compare(make_compared(num_workers=2), executor=WithGroups())
