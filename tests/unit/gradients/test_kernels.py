import pytest
import torch

from sgg_ray.gradients import Weights, combine, gram, kernels, track


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "CPU_CHUNK", 64)


def _vectors(length: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(5, length, dtype=torch.float64))


def _weights(gain: float = 0.3) -> Weights:
    return Weights(torch.tensor([0.5, -0.2, 0.7, 1.5, 0.9, gain], dtype=torch.float64))


@pytest.mark.parametrize("length", [0, 1, 64, 200])
def test_gram_is_that_of_the_whole_vectors(length: int):
    g, r, s, _, _ = _vectors(length)
    stacked = torch.stack([g, r, s])
    torch.testing.assert_close(gram(g, r, s), stacked @ stacked.T)
    stacked[1] = 0
    torch.testing.assert_close(gram(g, None, s), stacked @ stacked.T)


def test_gram_is_more_precise_than_one_float32_sum():
    vector = torch.full((1_000_000,), 0.1)
    assert gram(vector, None, None)[0, 0].item() == pytest.approx(10_000, rel=1e-6)


def test_combine_moves_the_parameters_and_keeps_them():
    g, r, s, theta, moved = _vectors(200)
    before, old, kept = g.clone(), r.clone(), theta.clone()
    combine(g, r, s, _weights(), values=theta, moved=moved, track=True)
    torch.testing.assert_close(moved, theta + 0.5 * before - 0.2 * old + 0.7 * s)
    torch.testing.assert_close(g, 1.5 * before)
    torch.testing.assert_close(r, 0.9 * old + 0.3 * before)
    assert torch.equal(theta, kept)


def test_combine_blends_in_place():
    g, r, s, _, _ = _vectors(200)
    expected, old = 0.5 * g - 0.2 * r + 0.7 * s, r.clone()
    combine(g, r, s, _weights())
    torch.testing.assert_close(g, expected)
    assert torch.equal(r, old)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reference_without_gain_is_not_touched_by_what_is_not_finite(bad: float):
    g, r, s, theta, moved = _vectors(200)
    g[5] = bad
    old = r.clone()
    track(g, r, torch.tensor([1.0, 0.0], dtype=torch.float64))
    combine(g, r, s, _weights(gain=0.0), values=theta, moved=moved, track=True)
    assert torch.equal(r, old)
