"""Workers that hold a part of the model each score sources as one process does that holds all of it."""

import numpy as np
import pytest
import score_worker
import torch
import toy
from torch import multiprocessing

from sgg_ray.models import sharding
from sgg_ray.scoring.sharded_pool import score_sharded
from sgg_ray.tasks import load_tasks

pytestmark = pytest.mark.skipif(not sharding.pytorch_can_shard(), reason="PyTorch is older than 2.8")
SKETCHED = {"alignment": {"summary": {"size": 1024}}}
ADAPTER = {"model": {"adapter": {"peft_type": "lora", "r": 4, "init_lora_weights": False}}}
EXACT = {"alignment": {"summary": {"kind": "exact"}}}


@pytest.fixture
def pools(make_config, make_generation, lm):
    """Toy configurations: sketches of a whole model's gradient, exact ones, an adapter's, and of completions."""
    sharded = {"ray": {"sharding": "fsdp", "num_workers": 2}}
    common = {"model": {"path": str(lm)}, "train": {"max_length": 40}, **sharded}
    labels = [make_config(**toy.merged(common, changes)) for changes in (SKETCHED, EXACT, ADAPTER)]
    return [*labels, make_generation(**SKETCHED, **sharded)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.by_hand)])
def test_parts_score_as_the_whole_does(pools, tmp_path, size):
    multiprocessing.spawn(score_worker.worker, (size, tmp_path, pools), nprocs=size)
    stored = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(size)]
    by_rank = [pools_found for pools_found, _ in stored]
    folds_agree(stored[0][1], score_worker.score_folds(pools[0]))
    for place, config in enumerate(pools):
        expected = score_sharded(config, *load_tasks(config), torch.device("cpu"))
        found = by_rank[0][place]
        (theirs,) = expected.gradients.targets.values()
        (mine,) = found.gradients.targets.values()
        assert mine.summary.dimension == theirs.summary.dimension
        assert np.linalg.norm(theirs.vectors) > 0
        np.testing.assert_allclose(mine.vectors, theirs.vectors, atol=1e-5 * np.abs(theirs.vectors).max())
        scores, wanted = (one.gradients.scores(0.95) for one in (found, expected))
        assert scores.keys() == wanted.keys() != set()
        for name, score in wanted.items():
            assert score is not None
            for key in ("value", "low", "high"):
                assert getattr(scores[name], key) == pytest.approx(getattr(score, key), abs=1e-4), (name, key)
            assert found.layers[name] == pytest.approx(expected.layers[name], abs=1e-4)
        for other in by_rank[1:]:
            np.testing.assert_array_equal(
                next(iter(other[place].gradients.targets.values())).vectors, mine.vectors
            )


def folds_agree(found, expected):
    assert len(found) == len(expected) == 2
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.failures == {}
        for name, score in theirs.scores(0.95).items():
            assert mine.scores(0.95)[name].value == pytest.approx(score.value, abs=1e-4)
    first, second = (fold.scores(0.95) for fold in expected)
    assert first != second  # other shots, other scores
