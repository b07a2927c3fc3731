"""Training on pairs before labels, fitted heads, averaged parameters."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy
from pydantic import ValidationError
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from sgg_ray.models import Batch
from sgg_ray.tasks import Rows, label_name_rows
from sgg_ray.training.head import STEEPNESS, UNSURE, begin_at_names, fit_head
from sgg_ray.training.pair_losses import pair_losses

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}


def batch_of(labels, heads) -> Batch:
    ids = torch.zeros(len(labels), 1, dtype=torch.int64)
    return Batch(ids, ids, torch.tensor(labels), tuple(heads))


def test_losses_of_pairs_are_those_of_the_definition():
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    labels, heads = [0, 0, 1, 1, 0, 2, 0], [("a", 4), ("b", 3)]
    found = pair_losses(features, batch_of(labels, heads))
    owner = [0, 0, 0, 0, 1, 1, 1]
    for i in range(7):
        kinds = {True: [], False: []}
        for j in range(7):
            if j != i and owner[j] == owner[i]:
                equal = labels[i] == labels[j]
                cosine = torch.cosine_similarity(features[i], features[j], dim=0)
                kinds[equal].append((float(cosine) - equal) ** 2)
        expected = sum(np.mean(errors) / 2 for errors in kinds.values() if errors)
        assert float(found[i]) == pytest.approx(expected, abs=1e-6)


def test_features_that_show_the_labels_have_no_loss_of_pairs_and_a_row_alone_none():
    features = torch.eye(3)[[0, 0, 1, 1, 2]]
    assert pair_losses(features, batch_of([0, 0, 1, 1, 2], [("a", 5)])).abs().max() < 1e-12
    alone = torch.randn(1, 4, requires_grad=True)
    loss = pair_losses(alone, batch_of([0], [("a", 1)])).sum()
    loss.backward()
    assert float(loss.detach()) == 0
    assert alone.grad is not None
    assert torch.isfinite(alone.grad).all()


def test_a_fitted_head_is_a_logistic_regression_on_unit_features(make_trainer):
    trainer = make_trainer(used=(), weights={}, guidance=OFF)
    model, rows = trainer.model, trainer.target
    fit_head(model, rows, 3)
    model.eval()
    batch = model.collate([(rows, row) for row in range(len(rows))])
    with torch.no_grad():
        features, found = model.features(batch), model.probabilities(batch)
    unit = torch.nn.functional.normalize(features, dim=-1).double().numpy()
    regression = LogisticRegression(max_iter=1000).fit(unit, rows.labels)
    np.testing.assert_allclose(found.numpy(), regression.predict_proba(unit), atol=1e-4)


def test_steps_on_pairs_leave_the_head_alone_and_are_followed_by_a_training_on_labels(make_trainer):
    train = {"contrastive": 0.5, "head": "regression", "max_steps": 8, "logging_steps": 1}
    trainer = make_trainer(
        guidance={"lambda_direction": 0.1, "lambda_magnitude": 0.1, "lambda_source": 1.0}, train=train
    )
    head = trainer.model.head(trainer.target.head)
    rates = []
    for step in range(8):
        if step < 4:
            before = trainer.flat.values.clone()
        trainer._step()
        trainer.step += 1
        rates.append(trainer.optimiser.param_groups[0]["lr"])
        if step < 4:
            assert not torch.equal(before, trainer.flat.values)  # the backbone learns
            assert not head.weight.any()
        else:
            assert head.weight.any()
    assert rates[:4] == rates[4:]
    steps = [float(state["step"]) for state in trainer.optimiser.state.values()]
    assert steps == [4.0] * len(steps)  # an optimiser of its own


def test_pairs_bring_rows_of_equal_labels_together(make_trainer):
    train = {"contrastive": 1.0, "head": "regression", "max_steps": 40, "learning_rate": 1e-3}
    trainer = make_trainer(used=(), weights={}, guidance=OFF, train=train)
    rows = trainer.target
    everything = [(rows, row) for row in range(len(rows))]

    def loss():
        trainer.model.eval()
        batch = trainer.model.collate(everything)
        with torch.no_grad():
            return float(pair_losses(trainer.model.features(batch), batch).mean())

    before = loss()
    trainer.run()
    assert loss() < 0.7 * before
    batch = trainer.model.collate(everything)
    assert (trainer.model.probabilities(batch).argmax(1) == batch.labels).all()


def test_a_regression_without_steps_on_pairs_is_where_training_begins(make_trainer):
    trainer = make_trainer(used=(), weights={}, guidance=OFF, train={"head": "regression"})
    expected = make_trainer(used=(), weights={}, guidance=OFF)
    fit_head(expected.model, expected.target, 8)
    before = trainer.model.head(trainer.target.head).weight
    trainer._begin_labels()
    torch.testing.assert_close(before, expected.model.head(expected.target.head).weight)


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
    trainer._begin_labels()
    assert trainer.model.head(trainer.target.head).weight.any() == known


@pytest.mark.parametrize(("average", "first"), [(0.5, 4), (1.0, 2), (0.25, 6)])
def test_the_final_parameters_are_the_mean_of_those_after_the_last_steps(make_trainer, average, first):
    """Those of the last phase at most: the first two of eight steps are on pairs."""
    train = {"max_steps": 8, "average": average, "contrastive": 0.25, "head": "regression"}
    trainer = make_trainer(guidance={"lambda_source": 1.0}, train=train)
    kept = []
    keep, trainer._add_to_average = (
        trainer._add_to_average,
        lambda: (kept.append(trainer.flat.values.clone()), keep()),
    )
    trainer.run()
    torch.testing.assert_close(trainer.flat.values, torch.stack(kept[first:]).mean(0), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(trainer.flat.values, kept[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": {"contrastive": 1.0}}, "train.contrastive: 1 leaves no step for the head"),
        ({"train": {"contrastive": 0.5, "micro_batch_size": 2}}, "leave out train.micro_batch_size"),
        ({"train": {"contrastive": 0.5}, "ray": {"num_workers": 2}}, "set ray.num_workers to 1"),
        (
            {"train": {"contrastive": 0.5, "schedule": "sequential"}, "guidance": {"lambda_alignment": 0.0}},
            "train.schedule: joint",
        ),
        ({"train": {"method": "setfit", "average": 0.5}, "guidance": OFF}, "setfit has its own pairs"),
    ],
)
def test_what_does_not_go_with_pairs_is_refused(make_config, changes, said):
    with pytest.raises(ValidationError, match=said):
        make_config(**changes)
