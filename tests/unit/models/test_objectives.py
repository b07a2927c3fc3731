"""Losses and predictions of each kind of head against their definitions."""

import numpy as np
import pytest
import torch

from sgg_ray.models import objective_of
from sgg_ray.models.objectives import Independent
from sgg_ray.tasks import Rows


def scores(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ordinal_loss_asks_of_each_level_whether_the_label_lies_above():
    found = objective_of("ordinal").losses(scores(3, 3), torch.tensor([0, 1, 2]), None)
    p = scores(3, 3).softmax(1)
    expected = [
        p[0, 0] * (p[0, 0] + p[0, 1]),
        (p[1, 1] + p[1, 2]) * (p[1, 0] + p[1, 1]),
        p[2, 2] * p[2, 1:].sum(),
    ]
    torch.testing.assert_close(found, -torch.stack(expected).log())


def test_a_label_far_off_costs_more_than_one_nearby():
    sure = torch.tensor([[0.0, 0.0, 0.0, 5.0]]).expand(4, 4)
    found = objective_of("ordinal").losses(sure, torch.arange(4), None)
    assert (found.diff() < 0).all()
    assert torch.isfinite(objective_of("ordinal").losses(100 * sure, torch.arange(4), None)).all()


def test_ordinal_targets_are_minus_the_gradient_of_a_head_that_knows_nothing():
    objective, labels = objective_of("ordinal"), torch.arange(5)
    zero = torch.zeros(5, 5, dtype=torch.float64, requires_grad=True)
    objective.losses(zero, labels, None).sum().backward()
    assert objective.outputs(5) == 5
    np.testing.assert_allclose(objective.targets(labels.numpy(), None, 5), -zero.grad, atol=1e-12)


def test_the_ordinal_loss_can_be_differentiated_twice():
    free = scores(4, 3).requires_grad_()
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradgradcheck(lambda s: objective_of("ordinal").losses(s, labels, None), (free,))


def test_labels_of_a_set_are_independent():
    objective = objective_of("multi_label")
    wanted = torch.tensor([[1.0, 0.0, 1.0]])
    chance = scores(1, 3).sigmoid()
    expected = -(wanted * chance.log() + (1 - wanted) * (1 - chance).log()).sum(1)
    torch.testing.assert_close(objective.losses(scores(1, 3), torch.zeros(1).long(), wanted), expected)
    torch.testing.assert_close(objective.predictions(scores(1, 3)), chance)


def test_a_label_begins_as_often_as_it_is_among_the_rows():
    values = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    rows = Rows(tuple("abcd"), np.zeros(4, dtype=np.int64), values=values)
    objective = objective_of("multi_label", rows)
    np.testing.assert_allclose(objective.biases(2), np.log([3.5 / 1.5, 1.5 / 3.5]))
    several = objective_of("multi_label", rows.take([0, 1, 2]))
    assert isinstance(objective, Independent)
    assert isinstance(several, Independent)
    assert not objective.at_least_one
    assert several.at_least_one
    assert np.isfinite(objective_of("multi_label", rows.take([0, 1])).biases(2)).all()
    for kind in ("classification", "ordinal", "regression"):
        assert not objective_of(kind).biases(3).any()


def test_numbers_are_standardised_and_brought_back():
    values = np.array([[10.0], [20.0], [30.0]])
    rows = Rows(("a", "b", "c"), np.zeros(3, dtype=np.int64), values=values)
    objective = objective_of("regression", rows)
    z = objective.targets(rows.labels, rows.values, 1)
    assert z.mean() == pytest.approx(0)
    assert z.std() == pytest.approx(1)
    found = objective.losses(torch.zeros(3, 1), torch.zeros(3).long(), torch.from_numpy(rows.values))
    np.testing.assert_allclose(found, 0.5 * z[:, 0] ** 2, rtol=1e-6)
    np.testing.assert_allclose(objective.predictions(torch.from_numpy(z)), values)
    assert objective.predictions(torch.zeros(1, 1)).item() == 20


def test_numbers_that_are_all_the_same_have_a_scale():
    rows = Rows(("a", "b"), np.zeros(2, dtype=np.int64), values=np.full((2, 1), 7.0))
    assert objective_of("regression", rows).predictions(torch.ones(1, 1)).item() == 8
