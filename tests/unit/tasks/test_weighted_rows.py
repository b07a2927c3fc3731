"""Weights of rows go with the rows, into what a training draws from."""

import numpy as np
import pytest

from sgg_ray.models import build_model
from sgg_ray.tasks import Rows, Task, load_tasks, sharing_labels


def rows(count=6):
    return Rows(tuple(f"text {number}" for number in range(count)), np.arange(count) % 3)


def test_rows_without_weight_are_gone_and_equal_weights_are_none():
    found = rows().weighted(np.array([0, 1, 1, 0, 1, 1.0]))
    assert found.texts == ("text 1", "text 2", "text 4", "text 5")
    assert found.weights is None
    soft = rows().weighted(np.array([0, 1, 0.5, 0.25, 1, 1.0]))
    assert soft.weights is not None
    assert soft.weights.tolist() == [1, 0.5, 0.25, 1, 1]
    assert soft.take([2, 0]).weights.tolist() == [0.25, 1]


def test_a_source_cut_to_common_labels_keeps_the_weights_of_its_rows():
    weighted = rows().weighted(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    target = Task("t", ("a", "b"), rows(0), rows(0), "target")
    (cut,) = sharing_labels(target, [Task("s", ("a", "b", "c"), weighted, rows(0), "source")])
    assert cut.train.texts == ("text 0", "text 1", "text 3", "text 4")
    assert cut.train.weights.tolist() == pytest.approx([0.1, 0.2, 0.4, 0.5])


def test_tokenised_rows_have_them(make_config):
    config = make_config()
    target, (clean, _) = load_tasks(config)
    weights = np.linspace(0.1, 1, len(clean.train))
    model = build_model(config, [target, clean])
    np.testing.assert_array_equal(model.tokenise(clean, clean.train.weighted(weights)).weights, weights)
