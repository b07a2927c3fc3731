"""Predictions come in the order of the rows, whatever the batches."""

import numpy as np
import pytest
import torch

from sgg_ray.models import EncoderClassifier, build_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training import SingleProcess, predict


@pytest.fixture
def model_and_rows(make_config):
    config = make_config()
    target, _ = load_tasks(config)
    model = build_model(config, [target])
    generator = torch.Generator().manual_seed(0)
    assert isinstance(model, EncoderClassifier)
    for parameter in model.heads.parameters():
        parameter.data.normal_(generator=generator)
    return model, model.tokenise(target, target.test)


def test_predictions_follow_the_rows(model_and_rows):
    model, rows = model_and_rows
    together = predict(model, rows, 64, SingleProcess())
    with torch.no_grad():
        alone = np.concatenate(
            [model.predictions(model.collate([(rows, row)])).numpy() for row in range(len(rows))]
        )
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(1), 1.0, atol=1e-6)
    assert np.ptp(together[:, 0]) > 0.1


def test_the_batch_size_does_not_matter_and_progress_is_told(model_and_rows):
    model, rows = model_and_rows
    told = []
    small = predict(model, rows, 7, SingleProcess(), lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(small, predict(model, rows, 1000, SingleProcess()), atol=1e-6)
    assert told[-1] == (len(rows), len(rows))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


class Half:
    """One of two workers whose sums are made afterwards."""

    world_size = 2

    def __init__(self, rank):
        self.rank = rank

    def all_reduce(self, tensor):
        self.part = tensor.clone()


def test_two_workers_share_the_rows(model_and_rows):
    model, rows = model_and_rows
    halves = [Half(0), Half(1)]
    for half in halves:
        predict(model, rows, 16, half)
    assert all((half.part.sum(1) == 0).any() for half in halves)
    whole = predict(model, rows, 16, SingleProcess())
    np.testing.assert_allclose(torch.stack([half.part for half in halves]).sum(0).numpy(), whole, atol=1e-6)
