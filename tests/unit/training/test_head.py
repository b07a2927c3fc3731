"""Heads that begin at what labels are called."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from scipy.optimize import minimize_scalar

from sgg_ray.tasks import Rows, label_name_rows
from sgg_ray.training.head import STEEPNESS, UNSURE, begin_at_names

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}


def names_of(trainer, labels):
    rows = label_name_rows(labels)
    assert rows is not None
    model, head = trainer.model, trainer.target.head
    task = replace(model.task_of(head, rows.texts), train=rows)
    return model.tokenise(task, rows)


def features_of(trainer, rows):
    model = trainer.model.eval()
    with torch.no_grad():
        return model.features(model.collate([(rows, row) for row in range(len(rows))])).double().numpy()


def test_a_head_that_begins_at_names_is_their_contrast_as_steep_as_is_most_likely(make_trainer):
    trainer = make_trainer(used=(), weights={}, guidance=OFF)
    rows, names = trainer.target, names_of(trainer, (toy.BAD[0], toy.GOOD[0]))
    steepness = begin_at_names(trainer.model, rows, names, 3)
    layer = trainer.model.head(rows.head)
    said, seen = features_of(trainer, names), features_of(trainer, rows)
    contrast = said[names.labels == 1].mean(0) - said[names.labels == 0].mean(0)
    weight = layer.weight.detach().double().numpy()
    assert abs(np.corrcoef(weight[1] - weight[0], contrast)[0, 1]) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(weight) == pytest.approx(abs(steepness), rel=1e-5)
    # Where classes lie on average nothing is predicted: the bias takes off what all texts have in common.
    middle = (seen[rows.labels == 0].mean(0) + seen[rows.labels == 1].mean(0)) / 2
    bias = layer.bias.detach().double().numpy()
    np.testing.assert_allclose(weight @ middle + bias, 0.0, atol=1e-5)

    def surprise(times):
        logits = times / steepness * (seen @ weight.T + bias)
        likelihood = logits[np.arange(len(rows)), rows.labels] - np.logaddexp.reduce(logits, axis=1)
        return -likelihood.sum() + (times - STEEPNESS) ** 2 / (2 * UNSURE**2)

    assert steepness == pytest.approx(minimize_scalar(surprise).x, abs=1e-4)


def test_names_that_say_nothing_about_the_shots_are_given_up_when_there_are_enough_of_them(make_trainer):
    random = np.random.default_rng(0)
    steepness = []
    for shots in (2, 400):
        trainer = make_trainer(used=(), weights={}, guidance=OFF)
        texts = tuple(" ".join(random.choice(toy.PLAIN, 6)) for _ in range(2 * shots))
        shuffled = Rows(texts, np.tile([0, 1], shots))
        task = replace(trainer.model.task_of(trainer.target.head, texts), train=shuffled)
        rows = trainer.model.tokenise(task, shuffled)
        steepness.append(begin_at_names(trainer.model, rows, names_of(trainer, (toy.BAD[0], toy.GOOD[0])), 8))
    assert abs(steepness[1]) < abs(steepness[0])
    assert abs(steepness[1]) < STEEPNESS / 2


@pytest.mark.parametrize("known", [True, False])
def test_names_are_where_training_begins_unless_they_say_nothing(make_trainer, known):
    trainer = make_trainer(used=(), weights={}, guidance=OFF, train={"head": "label_names"})
    trainer.names = names_of(trainer, (toy.BAD[0], toy.GOOD[0])) if known else None
    trainer._begin_head()
    assert trainer.model.head(trainer.target.head).weight.any() == known
