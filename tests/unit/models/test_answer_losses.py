"""T-Few's loss against its three equations, token by token."""

import math

import numpy as np
import torch

from sgg_ray.models.answer_losses import TFew


def by_hand(said, labels):
    """L_LM + L_UL + L_LN of each example; ``said``: for each its answers, lists of log-probabilities."""
    found = []
    for answers, label in zip(said, labels):
        right, wrong = answers[label], [own for number, own in enumerate(answers) if number != label]
        means = [sum(own) / len(own) for own in answers]
        spoken = -sum(right) / len(right)
        unlikely = -sum(math.log(1 - math.exp(one)) for own in wrong for one in own) / sum(map(len, wrong))
        normalised = -math.log(math.exp(means[label]) / sum(map(math.exp, means)))
        found.append(spoken + unlikely + normalised)
    return found


def test_the_loss_is_the_sum_of_the_three():
    said = [
        [[-0.1, -2.0, -0.5], [-1.0], [-0.7, -0.2]],
        [[-3.0], [-0.01, -0.3], [-2.0, -1.0, -4.0]],
        [[-0.3, -0.2], [-1.5]],  # a choice less than others
    ]
    padded = torch.full((3, 3, 3), -0.4)  # behind an answer's end anything may stand
    real = torch.zeros(3, 3, 3)
    for row, answers in enumerate(said):
        for place, own in enumerate(answers):
            padded[row, place, : len(own)], real[row, place, : len(own)] = torch.tensor(own), 1
    found = TFew().losses(padded, real, torch.tensor([0, 2, 1]))
    np.testing.assert_allclose(found.tolist(), by_hand(said, [0, 2, 1]), rtol=1e-5)


def test_a_wrong_answer_that_is_certain_has_a_finite_loss():
    said = torch.tensor([[[-5.0], [0.0]]], requires_grad=True)
    loss = TFew().losses(said, torch.ones(1, 2, 1), torch.tensor([0]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(said.grad).all()


def test_likelier_right_and_unlikelier_wrong_answers_lower_it():
    said = torch.log(torch.tensor([[[0.5, 0.6], [0.4, 0.3]]]))
    real, label = torch.ones(1, 2, 2), torch.tensor([0])
    before = TFew().losses(said, real, label)
    for place, sign in ((0, 1), (1, -1)):
        moved = said.clone()
        moved[0, place, 0] += sign * 1e-3
        assert TFew().losses(moved, real, label) < before
