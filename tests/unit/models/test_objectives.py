"""Losses and predictions of each kind of head against their definitions."""

import numpy as np
import pytest
import torch

from sgg_ray.models import objective_of
from sgg_ray.tasks import Rows


def scores(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ordinal_loss_asks_of_each_level_whether_the_label_lies_above():
    found = objective_of("ordinal").losses(scores(3, 2), torch.tensor([0, 1, 2]), None)
    chance = scores(3, 2).sigmoid()
    above = torch.tensor([[0, 0], [1, 0], [1, 1]]).bool()
    expected = -torch.where(above, chance, 1 - chance).log().sum(1)
    torch.testing.assert_close(found, expected)


def test_ordinal_probabilities_are_some_and_sum_to_one():
    objective = objective_of("ordinal")
    found = objective.predictions(scores(50, 4))
    assert found.shape == (50, 5)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(50, dtype=torch.float64))
    sure = objective.predictions(torch.tensor([[9.0, 9.0, -9.0]]))
    assert sure.argmax() == 2
    assert objective.outputs(5) == 4
    np.testing.assert_array_equal(objective.targets(np.array([0, 2]), None, 4), [[0, 0, 0], [1, 1, 0]])


def test_labels_of_a_set_are_independent():
    objective = objective_of("multi_label")
    wanted = torch.tensor([[1.0, 0.0, 1.0]])
    chance = scores(1, 3).sigmoid()
    expected = -(wanted * chance.log() + (1 - wanted) * (1 - chance).log()).sum(1)
    torch.testing.assert_close(objective.losses(scores(1, 3), torch.zeros(1).long(), wanted), expected)
    torch.testing.assert_close(objective.predictions(scores(1, 3)), chance)


def test_numbers_are_standardised_and_brought_back():
    rows = Rows(("a", "b", "c"), np.zeros(3, dtype=np.int64), values=np.array([[10.0], [20.0], [30.0]]))
    objective = objective_of("regression", rows)
    z = objective.targets(rows.labels, rows.values, 1)
    assert z.mean() == pytest.approx(0)
    assert z.std() == pytest.approx(1)
    found = objective.losses(torch.zeros(3, 1), torch.zeros(3).long(), torch.from_numpy(rows.values))
    np.testing.assert_allclose(found, 0.5 * z[:, 0] ** 2, rtol=1e-6)
    np.testing.assert_allclose(objective.predictions(torch.from_numpy(z)), rows.values)
    assert objective.predictions(torch.zeros(1, 1)).item() == 20


def test_numbers_that_are_all_the_same_have_a_scale():
    rows = Rows(("a", "b"), np.zeros(2, dtype=np.int64), values=np.full((2, 1), 7.0))
    assert objective_of("regression", rows).predictions(torch.ones(1, 1)).item() == 8
