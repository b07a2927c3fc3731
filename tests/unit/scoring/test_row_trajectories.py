"""LESS: rows over the checkpoints of a warm-up training, compared with its equation and with Adam itself."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from sgg_ray.config import WarmupConfig
from sgg_ray.errors import ConfigError
from sgg_ray.gradients import Summariser
from sgg_ray.models import LanguageModel, build_model
from sgg_ray.scoring import (
    Checkpoint,
    RowVectors,
    check_row_scores,
    flat_parameters,
    row_trajectories,
    score_rows,
    set_parameters,
    shares_of_rates,
    trajectory_vectors,
    vectors_of,
)
from sgg_ray.scoring.row_trajectories import AdamUpdates, trajectory_scores
from sgg_ray.tasks import load_tasks
from sgg_ray.training import rows_to_warm_up, warm_up, with_trajectories

PEFT = {"adapter": {"peft_type": "lora", "r": 2, "target_modules": ["q_proj", "v_proj"]}}
WARMUP = WarmupConfig.model_validate({"checkpoints": 3, "share": 0.2, "learning_rate": 1e-2})


@pytest.fixture
def pool(make_config, lm):
    """A tiny model, the target, a source, and the checkpoints of a warm-up training on that."""
    config = make_config(model={"path": str(lm), **PEFT}, train={"max_length": 40})
    target, (source, *_) = load_tasks(config)
    model = build_model(config, [target])
    assert isinstance(model, LanguageModel)
    source = replace(source, train=source.train.take(np.arange(24)))
    checkpoints = warm_up(model, rows_to_warm_up([source], WARMUP.share, 0), WARMUP, 0)
    return model, target, source, checkpoints


def gradients_at(model, task, checkpoint) -> np.ndarray:
    """Gradient of each row's training loss, one backward pass a row."""
    before, found = flat_parameters(model), []
    set_parameters(model, torch.from_numpy(checkpoint.values))
    model.eval()
    tokens = model.tokenise(task, task.train)
    parameters = [one for one in model.parameters() if one.requires_grad]
    for row in range(len(task.train)):
        loss = model.losses(model.collate([(tokens, row)])).sum()
        found.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, parameters)]).numpy())
    set_parameters(model, before)
    return np.stack(found).astype(np.float64)


def by_the_equation(model, target, source, checkpoints, preconditioner="adam") -> np.ndarray:
    classes = target.train.labels
    total = np.zeros((len(np.unique(classes)), len(source.train)))
    rates = sum(one.rate for one in checkpoints)
    for one in checkpoints:
        shots = gradients_at(model, target, one)
        rows = gradients_at(model, source, one)
        if preconditioner == "adam":
            first = (0.9 * one.momentum + 0.1 * rows) / (1 - 0.9 ** (one.steps + 1))
            second = (0.999 * one.squares + 0.001 * rows**2) / (1 - 0.999 ** (one.steps + 1))
            rows = first / (np.sqrt(second) + 1e-8)
        for number, value in enumerate(np.unique(classes)):
            wanted = shots[classes == value].mean(axis=0)
            cosines = rows @ wanted / np.linalg.norm(rows, axis=1) / np.linalg.norm(wanted)
            total[number] += one.rate / rates * cosines
    return total.max(axis=0)


def found_scores(model, target, source, checkpoints, preconditioner="adam") -> np.ndarray:
    rows, shots = (
        np.concatenate(
            list(
                trajectory_vectors(
                    model, task, [(0, 5), (5, len(task.train))], checkpoints, preconditioner, 0
                )
            )
        )
        for task in (source, target)
    )
    return trajectory_scores(rows, shots, target.train.labels, shares_of_rates(checkpoints))


@contextmanager
def sketched_to(size: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_trajectories, "TRAJECTORY_SKETCH", size)
        yield


@pytest.mark.parametrize("preconditioner", ["adam", "none"])
def test_scores_are_those_of_the_equation(pool, preconditioner):
    model, target, source, checkpoints = pool
    before = flat_parameters(model)
    wanted = by_the_equation(model, target, source, checkpoints, preconditioner)
    assert np.ptp(wanted) > 0.05
    with sketched_to(1 << 20):  # exact
        found = found_scores(model, target, source, checkpoints, preconditioner)
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    torch.testing.assert_close(flat_parameters(model), before, rtol=0, atol=0)


def test_a_sketch_changes_scores_by_one_over_the_root_of_its_size(pool):
    model, target, source, checkpoints = pool
    wanted = by_the_equation(model, target, source, checkpoints)
    size = len(checkpoints) * len(checkpoints[0].values) // 64 * 32
    with sketched_to(size):
        error = found_scores(model, target, source, checkpoints) - wanted
    assert 0 < np.sqrt((error**2).mean()) < 2 / np.sqrt(size)


def test_an_update_is_the_step_that_adam_makes():
    random = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(50, dtype=torch.float64))
    optimiser = torch.optim.Adam([parameter], lr=0.1)
    for _ in range(4):
        parameter.grad = torch.randn(50, generator=random, dtype=torch.float64)
        optimiser.step()
    state = optimiser.state[parameter]
    momentum, squares = (state[name].numpy().copy() for name in ("exp_avg", "exp_avg_sq"))
    checkpoint = Checkpoint(parameter.detach().numpy().copy(), momentum, squares, 4, 0.1)
    gradient = torch.randn(50, generator=random, dtype=torch.float64)
    parameter.grad = gradient.clone()
    optimiser.step()
    step = torch.from_numpy(checkpoint.values) - parameter.detach()
    torch.testing.assert_close(0.1 * AdamUpdates(checkpoint, torch.device("cpu")).of(gradient), step)


def test_a_warm_up_has_a_checkpoint_an_epoch_and_leaves_the_model_alone(pool):
    model, _, source, checkpoints = pool
    (part,) = rows_to_warm_up([source], WARMUP.share, 0)
    assert len(part.train) == 5
    assert set(part.train.texts) <= set(source.train.texts)
    assert [one.steps for one in checkpoints] == [1, 2, 3]
    assert checkpoints[0].rate > checkpoints[2].rate > 0
    before = flat_parameters(model)
    again = warm_up(model, [part], WARMUP, 0)
    torch.testing.assert_close(flat_parameters(model), before, rtol=0, atol=0)
    for one, other in zip(checkpoints, again):
        np.testing.assert_array_equal(one.values, other.values)
        assert (one.values != before.numpy()).any()
        assert one.squares.max() > 0


def test_a_ranking_by_less_goes_by_these_scores(pool):
    model, target, source, checkpoints = pool
    plain = [vectors_of(model, task, 0) for task in (target, source)]
    vectors = with_trajectories(model, plain, WARMUP, 0)
    found = score_rows(*split(vectors), {}, language_model=True, ranked_by="less")[source.name]
    wanted = by_the_equation(model, target, source, checkpoints)
    assert found.ranking is not None
    np.testing.assert_allclose(found.ranking.score, wanted, atol=0.1)
    np.testing.assert_array_equal(found.alignment, found.ranking.score)
    without = score_rows(*split(plain), {}, language_model=True)[source.name]
    np.testing.assert_array_equal(found.wrong, without.wrong)
    best = np.argsort(-found.ranking.score)[:12]
    assert set(np.flatnonzero(found.weights("top", 0.5))) == set(best)
    shots = vectors[0].take(target, np.array([1, 3]))
    np.testing.assert_array_equal(np.asarray(shots.trajectory), np.asarray(vectors[0].trajectory)[[1, 3]])


def split(vectors: list[RowVectors]) -> tuple[RowVectors, list[RowVectors]]:
    return vectors[0], vectors[1:]


def test_a_row_takes_the_same_room_for_any_number_of_checkpoints(pool):
    model, _, source, checkpoints = pool
    with sketched_to(64):
        widths = {
            next(trajectory_vectors(model, source, [(0, 2)], checkpoints[:count], "adam", 0)).shape[1]
            for count in (1, 2, 3)
        }
    assert widths == {64} == {Summariser(10_000, 64, 0).sent}


def test_a_label_with_long_gradients_does_not_take_all_places():
    """A model that says one label too rarely: by the mean of all shots, all of that label would come first."""
    rare, common = np.array([1.0, 0.1, 0.0]), np.array([-1.0, 0.1, 0.0])
    shots = np.stack([5 * rare, 5 * rare, common, common])
    like_shots, unlike = np.array([0.0, 0.3, 0.0]), np.array([0.0, 0.0, 0.3])
    rows = np.stack([rare + unlike, rare + like_shots, common + unlike, common + like_shots])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = trajectory_scores(rows, shots, np.array([0, 0, 1, 1]), np.ones(1))
    assert set(np.argsort(-found)[:2]) == {1, 3}
    one = trajectory_scores(rows, shots, np.zeros(4, dtype=int), np.ones(1))
    assert set(np.argsort(-one)[:2]) == {0, 1}


def test_an_encoder_has_no_less(make_config):
    config = make_config(alignment={"row_weighting": "top", "row_scores": "less"})
    with pytest.raises(ConfigError, match=r"less compares all trained parameters .* use cosine"):
        check_row_scores(config)
