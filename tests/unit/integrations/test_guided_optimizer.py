"""A bare PyTorch loop with GuidedOptimizer trains what the product's own loop trains."""

import copy

import product_model as other
import pytest
import torch

from sgg_ray.errors import ConfigError, TrainingError
from sgg_ray.integrations.torch import GuidedOptimizer
from sgg_ray.training.sampling import source_batch, target_batch

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "lambda_source": 0.7}


def mean_loss(model, task, rows):
    return model(task=[task] * len(rows), row=rows)["loss"]


def test_it_trains_what_the_products_loop_trains(make_config, still_encoder):
    """Several micro-batches of the target, a mixture, clipping and a schedule. Parameters within 1e-5."""
    config = make_config(
        model={"path": str(still_encoder)},
        guidance={**TERMS, "warmup_ratio": 0.5},
        train={
            "max_steps": 5,
            "learning_rate": 1e-3,
            "head_learning_rate": 1e-3,
            "weight_decay": 0.0,
            "source_batch_size": 6,
        },
    )
    own, model = other.both(config)
    events = []
    own.run(events.extend)
    inner, schedule = other.optimisers(model, config)
    optimizer = GuidedOptimizer(
        inner, max_steps=5, with_sources=True, max_grad_norm=1.0, **TERMS, warmup_ratio=0.5
    )
    sizes = {name: len(model.rows[number]) for number, name in enumerate(other.WEIGHTS, start=1)}
    numbers = {name: number for number, name in enumerate(other.WEIGHTS, start=1)}
    for step in range(5):
        rows = target_batch(len(model.rows[0]), 8, step, config.seed).tolist()
        drawn = source_batch(sizes, other.WEIGHTS, 6, step, config.seed)
        halves = [lambda rows=rows[start::2]: mean_loss(model, 0, rows) / 2 for start in (0, 1)]
        metrics = optimizer.step(
            halves,
            lambda drawn=drawn: model([numbers[name] for name, _ in drawn], [row for _, row in drawn])[
                "loss"
            ],
        )
        schedule.step()
        assert float(metrics["penalty"]) == pytest.approx(events[step]["penalty"], rel=1e-3)
    torch.testing.assert_close(
        other.parameters_of(model.model), other.parameters_of(own.model), atol=1e-5, rtol=0
    )


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    )
    return model, torch.randn(16, 4), torch.randn(16, 1)


def guide(model, **more):
    return GuidedOptimizer(torch.optim.Adam(model.parameters(), lr=0.01), max_steps=10, **more)


def loss_of(model, x, y):
    return lambda: torch.nn.functional.mse_loss(model(x), y)


def test_it_goes_on_from_its_state(small):
    model, x, y = small
    optimizer = guide(model)
    for _ in range(3):
        optimizer.step(loss_of(model, x, y))
    state, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    for _ in range(3):
        optimizer.step(loss_of(model, x, y))
    again = copy.deepcopy(model)
    again.load_state_dict(weights)
    resumed = guide(again)
    resumed.load_state_dict(state)
    torch.manual_seed(5)
    for _ in range(3):
        resumed.step(loss_of(again, x, y))
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_dropout_masks_repeat_within_a_step_and_not_between_steps(small):
    model, x, y = small
    masks = []
    model[1].register_forward_hook(lambda module, given, output: masks.append(output == 0))
    optimizer = guide(model)
    for _ in range(2):
        optimizer.step(loss_of(model, x, y))
    assert len(masks) == 4  # g and the finite difference, twice
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])


def test_broken_steps_change_nothing_and_too_many_end_the_training(small):
    model, x, y = small
    optimizer = guide(model)
    optimizer.step(loss_of(model, x, y))
    before = copy.deepcopy(model.state_dict())
    for _ in range(9):
        optimizer.step(loss_of(model, x, y * float("nan")))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(TrainingError, match="10 steps in a row had a gradient that was not finite"):
        optimizer.step(loss_of(model, x, y * float("nan")))


def test_wrong_arguments_are_said(small):
    model, x, y = small
    with pytest.raises(ConfigError, match=r"guidance\.hvp: must be one of"):
        guide(model, hvp="exactly")
    with pytest.raises(ConfigError, match="source is missing, but with_sources is True"):
        guide(model, with_sources=True).step(loss_of(model, x, y))
    with pytest.raises(ConfigError, match="source is given, but with_sources is False"):
        guide(model).step(loss_of(model, x, y), loss_of(model, x, y))


def test_half_of_what_an_optimiser_knows_of_may_be_frozen(small):
    model, x, y = small
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    guide(model).step(loss_of(model, x, y))
    assert torch.equal(model[0].weight, before)
