import statistics

import pytest
import torch

from sgg_ray.guidance.running import HISTORY, RunningNorms, momentum


def _norms(with_median: bool = True) -> RunningNorms:
    return RunningNorms(torch.device("cpu"), with_median)


def _pair(value: float) -> torch.Tensor:
    return torch.tensor([value, 2 * value], dtype=torch.float64)


def test_means_and_median_are_those_of_the_values():
    norms, values = _norms(), [float(1 + (7 * step) % 5) for step in range(30)]
    for count, value in enumerate(values, 1):
        norms.add(_pair(value))
        assert norms.means.tolist() == pytest.approx(
            [sum(values[:count]) / count, 2 * sum(values[:count]) / count]
        )
        assert norms.median.item() == statistics.median_low(values[:count])


def test_the_median_forgets_and_is_inf_at_first():
    norms = _norms()
    assert norms.median == torch.inf
    for value in [1.0] * HISTORY + [5.0] * HISTORY:
        norms.add(_pair(value))
    assert norms.median == 5.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_does_not_enter(bad: float):
    norms = _norms()
    norms.add(_pair(3.0))
    before = {name: value.clone() for name, value in norms.state_dict().items()}
    norms.add(_pair(bad))
    assert all(torch.equal(value, before[name]) for name, value in norms.state_dict().items())


def test_one_outlier_moves_the_mean_by_a_bounded_amount():
    norms = _norms()
    for value in (1.0, 1.0, 1.0, 1e9):
        norms.add(_pair(value))
    assert norms.means[0] <= (3 + 10) / 4


def test_momentum_is_nothing_for_unusable_gradients():
    floor = torch.tensor(2.0, dtype=torch.float64)
    for norm in (0.0, float("nan"), float("inf")):
        assert momentum(torch.tensor(norm, dtype=torch.float64), floor, 0.9).tolist() == [1.0, 0.0]
    usual = momentum(torch.tensor(4.0, dtype=torch.float64), floor, 0.9)
    assert usual.tolist() == pytest.approx([0.9, 0.1 / 4])
    faint = momentum(torch.tensor(1.0, dtype=torch.float64), floor, 0.9)
    assert faint.tolist() == pytest.approx([0.9, 0.1 / 2])
