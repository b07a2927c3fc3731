from dataclasses import replace

import numpy as np
import pytest
import torch

from sgg_ray.gradients import GradientSummary, Summariser


def _summary(**changes) -> GradientSummary:
    vector = np.array([3.0, 4.0], dtype=np.float32)
    return replace(GradientSummary("imdb", "head", 0, 2, vector, 2, None), **changes)


def test_the_mean_is_over_all_examples():
    summary = _summary(examples=5, vector=np.array([5.0, 5.0], dtype=np.float32))
    np.testing.assert_allclose(summary.mean, [1.0, 1.0])
    assert summary.norm == pytest.approx(2**0.5)


@pytest.mark.parametrize("change", [{"space": "b"}, {"dimension": 9}, {"seed": 9}, {"vector": np.ones(3)}])
def test_what_does_not_belong_together_is_not_compared(change: dict):
    with pytest.raises(ValueError, match="cannot be compared"):
        _summary().cosine(_summary(**change))


def test_cosine_does_not_depend_on_length_and_needs_the_same_space():
    other = _summary(task="b", step=3, examples=1, vector=np.array([-6.0, -8.0], dtype=np.float32))
    assert _summary().cosine(other) == pytest.approx(-1.0)
    assert np.isnan(_summary().cosine(_summary(vector=np.zeros(2, dtype=np.float32))))
    with pytest.raises(ValueError, match="space is 'head' and 'backbone'"):
        _summary().cosine(_summary(space="backbone"))


def test_micro_batches_and_shards_give_the_same_summary():
    gradients = torch.randn(6, 5000)
    summariser = Summariser(5000, 256, seed=1)
    parts = summariser.compress(gradients)
    whole = summariser.summary("a", "s", 0, parts, 6)
    halves = [summariser.summary("a", "s", 0, parts[half], 3) for half in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(halves[0].vector + halves[1].vector, whole.vector, rtol=1e-5, atol=1e-4)
    at_once = summariser.summary("a", "s", 0, summariser.compress(gradients.sum(0, keepdim=True)), 6)
    np.testing.assert_allclose(at_once.vector, whole.vector, rtol=1e-4, atol=1e-3)
    assert whole.nbytes == 256 * 4
    assert whole.vector.dtype == np.float32
    assert whole.seed == 1


@pytest.mark.parametrize(("dimension", "kind"), [(5000, "exact"), (200, "sketch")])
def test_exact_where_asked_for_or_where_a_sketch_is_no_smaller(dimension: int, kind: str):
    gradients = torch.randn(3, dimension)
    summariser = Summariser(dimension, 256, seed=1, kind=kind)
    assert torch.equal(summariser.compress(gradients), gradients)
    summary = summariser.summary("a", "s", 0, gradients, 3)
    assert summary.seed is None
    assert summary.dimension == dimension
