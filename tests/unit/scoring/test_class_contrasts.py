"""Contrast gradients: the closed form is autograd's at a zero head, and balance cancels what is common."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sgg_ray.models import build_model
from sgg_ray.scoring.class_contrasts import (
    backbone_contrasts,
    balanced_parts,
    class_residuals,
    head_contrasts,
    row_features,
    single_example_parts,
)
from sgg_ray.tasks import load_tasks


@pytest.fixture
def model_and_task(make_config):
    config = make_config()
    target, (source, _) = load_tasks(config)
    return build_model(config, [target]).eval(), source


def test_the_closed_form_is_autograds_at_a_zero_head(model_and_task):
    model, task = model_and_task
    rows = model.tokenise(task, task.train)
    chosen = np.array([11, 2, 33, 4, 25, 16])
    classes = task.train.labels[chosen]
    parts = single_example_parts(chosen)
    found = head_contrasts(row_features(model, rows, chosen, 4), chosen, class_residuals(classes, 2), parts)
    weight = model.head(task.head).weight
    for gradient, row in zip(found, chosen):
        loss = model.losses(model.collate([(rows, int(row))])).sum()
        (expected,) = torch.autograd.grad(loss, weight)
        torch.testing.assert_close(gradient.view_as(expected), expected, atol=1e-5, rtol=1e-4)


def test_a_part_is_the_weighted_mean_of_its_examples(model_and_task):
    model, task = model_and_task
    rows = model.tokenise(task, task.train)
    chosen = np.arange(20)
    classes = task.train.labels[chosen]
    features = row_features(model, rows, chosen, 8)
    single = head_contrasts(features, chosen, class_residuals(classes, 2), single_example_parts(chosen))
    parts = balanced_parts(chosen, classes, 3)
    joint = head_contrasts(features, chosen, class_residuals(classes, 2), parts)
    for gradient, part in zip(joint, parts):
        expected = torch.from_numpy(part.weights).float() @ single[torch.from_numpy(part.rows)]
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def test_the_backbones_contrast_is_autograds_of_the_contrast_loss(model_and_task):
    model, task = model_and_task
    rows = model.tokenise(task, task.train)
    chosen = np.arange(12)
    classes = task.train.labels[chosen]
    parts = balanced_parts(chosen, classes, 2)
    found = list(backbone_contrasts(model, rows, chosen, classes, 2, parts, batch_size=3))
    with torch.no_grad():
        features = model.features(model.collate([(rows, int(row)) for row in chosen]))
    means = torch.stack([features[torch.from_numpy(classes == number)].mean(0) for number in (0, 1)])
    head = F.normalize((means - means.mean(0)).flatten(), dim=0).view_as(means)
    trainable = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    for gradient, part in zip(found, parts):
        logits = model.features(model.collate([(rows, int(row)) for row in part.rows])) @ head.T
        residual = F.one_hot(torch.from_numpy(task.train.labels[part.rows]), 2) - 0.5
        loss = -(torch.from_numpy(part.weights).float().unsqueeze(1) * residual * logits).sum()
        expected = torch.autograd.grad(loss, trainable, allow_unused=True, materialize_grads=True)
        expected = torch.cat([part.flatten() for part in expected])
        assert expected.norm() > 0
        torch.testing.assert_close(gradient.whole(), expected, atol=1e-6, rtol=1e-3)


@st.composite
def chosen_rows(draw):
    """Row numbers in any order with classes of which each has at least one."""
    classes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=60))
    rows = draw(st.permutations(range(100, 100 + len(classes))))
    return np.array(rows), np.array(classes)


@given(chosen_rows(), st.integers(1, 10))
def test_parts_are_balanced_and_take_every_row_once(rows_and_classes, most):
    chosen, classes = rows_and_classes
    parts = balanced_parts(chosen, classes, most)
    assert 1 <= len(parts) <= most
    assert sorted(np.concatenate([part.rows for part in parts])) == sorted(chosen)
    of_row = dict(zip(chosen.tolist(), classes.tolist()))
    present = set(classes.tolist())
    for part in parts:
        shares = dict.fromkeys(present, 0.0)
        for row, weight in zip(part.rows, part.weights):
            shares[of_row[int(row)]] += weight
        assert shares == pytest.approx({value: 1 / len(present) for value in present})


def test_what_all_rows_share_cancels(model_and_task):
    """A constant added to all features moves single examples' gradients, and no balanced part's."""
    model, task = model_and_task
    rows = model.tokenise(task, task.train)
    chosen = np.arange(16)
    classes = task.train.labels[chosen]
    before = model.features
    shift = torch.randn(model.width, generator=torch.Generator().manual_seed(0))

    def gradients(parts):
        return head_contrasts(
            row_features(model, rows, chosen, 8), chosen, class_residuals(classes, 2), parts
        )

    single, balanced = single_example_parts(chosen), balanced_parts(chosen, classes, 4)
    plain = gradients(single), gradients(balanced)
    model.features = lambda batch: before(batch) + shift
    moved = gradients(single), gradients(balanced)
    assert (moved[0] - plain[0]).norm(dim=1).min() > 1
    torch.testing.assert_close(moved[1], plain[1], atol=1e-5, rtol=1e-4)
