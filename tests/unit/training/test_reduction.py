"""The gradient is summed over the workers in parts, in the same order whatever a backward pass reaches."""

import pytest
import torch
from torch import nn

from sgg_ray.gradients import FlatParameters
from sgg_ray.training.reduction import GradientSum

WIDTH, LAYERS, STRETCH = 4, 6, 30  # two matrices of 16 values fill a stretch


class Twins:
    """Two workers with equal gradients: sums are twice what is there. Remembers what was sent, as (start, size)."""

    rank, world_size = 0, 2

    def __init__(self):
        self.sent, self.waited = [], 0

    def all_reduce(self, tensor):
        self.start_all_reduce(tensor)()

    def start_all_reduce(self, tensor):
        self.sent.append((tensor.storage_offset(), tensor.numel()))
        tensor.mul_(2)

        def wait():
            self.waited += 1

        return wait


class Model(nn.Module):
    """A head, layers, and a head that is not used: [head | layers | other]."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(WIDTH, 1, bias=False)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])
        self.other = nn.Linear(WIDTH, 1, bias=False)

    def forward(self, inputs, depth=LAYERS):
        for layer in self.layers[:depth]:
            inputs = layer(inputs).tanh()
        return self.head(inputs).sum()


@pytest.fixture
def case():
    torch.manual_seed(0)
    model = Model()
    flat = FlatParameters(model.named_parameters())
    workers = Twins()
    where = slice(WIDTH, WIDTH + LAYERS * WIDTH**2)
    return model, flat, workers, GradientSum(flat, where, workers, STRETCH)


def pieces():
    """From the end of the layers to their beginning, then the rest."""
    early = [(WIDTH + first * WIDTH**2, 2 * WIDTH**2) for first in (4, 2, 0)]
    return [*early, (0, WIDTH), (WIDTH + LAYERS * WIDTH**2, WIDTH)]


def run(case, depth=LAYERS, armed=True):
    """One pass; returns the gradient as it was before the sum, and how many parts had been sent by then."""
    model, flat, workers, total = case
    inputs = torch.ones(2, WIDTH)
    flat.zero_gradient()
    model(inputs, depth).backward()
    expected = flat.gradient.clone()
    flat.zero_gradient()
    workers.sent.clear()
    if armed:
        total.arm()
    model(inputs, depth).backward()
    before = len(workers.sent)
    total.all_reduce(flat.gradient)
    torch.testing.assert_close(flat.gradient, 2 * expected, rtol=0, atol=0)
    return before


def test_parts_are_sent_while_the_pass_runs(case):
    assert run(case) == 3
    assert case[2].sent == pieces()
    assert case[2].waited == len(pieces())
    assert run(case) == 3  # and in the next pass again


def test_the_order_is_the_same_without_gradients_for_all(case):
    assert run(case, depth=4) == 0  # the last two layers, which come first, get none
    assert case[2].sent == pieces()
    assert run(case, depth=0) == 0
    assert case[2].sent == pieces()


def test_nothing_is_sent_before_the_last_micro_batch(case):
    assert run(case, armed=False) == 0
    assert case[2].sent == pieces()
    model, flat, workers, total = case
    flat.zero_gradient()
    workers.sent.clear()
    model(torch.ones(2, WIDTH)).backward()
    first = flat.gradient.clone()
    total.arm()
    model(torch.ones(2, WIDTH)).backward()
    total.all_reduce(flat.gradient)
    torch.testing.assert_close(flat.gradient, 4 * first)


def test_what_lies_behind_is_left_out_where_it_is_not_given(case):
    _, flat, workers, total = case
    flat.gradient.fill_(1)
    total.all_reduce(flat.gradient[:-WIDTH])
    assert workers.sent == pieces()[:-1]
    torch.testing.assert_close(flat.gradient[:-WIDTH], torch.full_like(flat.gradient[:-WIDTH], 2))
    torch.testing.assert_close(flat.gradient[-WIDTH:], torch.ones(WIDTH))


def test_one_stretch_for_what_is_small():
    model = Model()
    flat, workers = FlatParameters(model.named_parameters()), Twins()
    total = GradientSum(flat, slice(WIDTH, WIDTH + LAYERS * WIDTH**2), workers, 1000)
    total.arm()
    model(torch.ones(2, WIDTH)).backward()
    total.all_reduce(flat.gradient)
    assert workers.sent == [(0, flat.size)]
