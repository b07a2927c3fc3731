"""With every λ at 0 and no sources, training is plain AdamW, bit for bit."""

import pytest
import torch

from sgg_ray.models import build_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training
from sgg_ray.training.job import plain
from sgg_ray.training.parameter_layout import learning_rate_factor
from sgg_ray.training.sampling import target_batch

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}
ADAPTERS = {"full": None, "lora": {"peft_type": "lora", "r": 4, "lora_dropout": 0.0}}


def train_by_hand(config, target):
    """What anyone would write: one AdamW over the model's own parameters, no flat buffer, no guidance."""
    settings = config.train
    model = build_model(config, [target]).train()
    heads = set(model.head_parameters(target.head))
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = {}
    for name, parameter in named:
        groups.setdefault((name in heads, parameter.ndim > 1), []).append(parameter)
    optimiser = torch.optim.AdamW(
        [
            {"params": members, "is_head": is_head, "weight_decay": settings.weight_decay if decays else 0.0}
            for (is_head, decays), members in groups.items()
        ],
        fused=True,
    )
    rows = model.tokenise(target, target.train)
    for step in range(settings.max_steps):
        factor = learning_rate_factor(step, settings.max_steps, settings.warmup_ratio)
        for group in optimiser.param_groups:
            group["lr"] = factor * (
                settings.head_learning_rate if group["is_head"] else settings.learning_rate
            )
        chosen = target_batch(len(rows), settings.batch_size, step, config.seed)
        batch = model.collate([(rows, int(row)) for row in chosen])
        optimiser.zero_grad()
        (model.losses(batch).sum() / len(chosen)).backward()
        optimiser.step()
    return dict(model.named_parameters())


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
def test_it_is_plain_adamw_bit_for_bit(make_config, still_encoder, adapter):
    config = make_config(
        model={"path": str(still_encoder), "adapter": adapter},
        sources=[],
        guidance=OFF,
        train={"max_steps": 5, "max_grad_norm": 1e9, "weight_decay": 0.1, "warmup_ratio": 0.4},
    )
    target, _ = load_tasks(config)
    expected = train_by_hand(config, target)
    found = dict(run_training(config, target, [], {}, torch.device("cpu")).model.named_parameters())
    before = dict(build_model(config, [target]).named_parameters())
    assert found.keys() == expected.keys()
    moved = 0
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
        moved += not torch.equal(value, before[name])
    assert moved > 4


def test_clipping_is_that_of_torch(make_config, still_encoder):
    """One step from a zero head: its gradient is far longer than the bound, and Adam would hide its length."""
    config = make_config(
        model={"path": str(still_encoder)}, sources=[], guidance=OFF, train={"max_grad_norm": 0.5}
    )
    target, _ = load_tasks(config)
    model = build_model(config, [target])
    rows = model.tokenise(target, target.train)
    from sgg_ray.training import SingleProcess, Trainer
    from sgg_ray.training.passes import TARGET

    trainer = Trainer(model, rows, {}, {}, config, SingleProcess())
    passes = trainer.passes
    passes.backward(passes.target_batch(0), config.train.batch_size, 0, TARGET)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in model.parameters()]
    for copy, parameter in zip(copies, model.parameters()):
        copy.grad = parameter.grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(copies, 0.5)
    assert norm > 1
    trainer._move()
    for copy, parameter in zip(copies, model.parameters()):
        torch.testing.assert_close(parameter.grad, copy.grad)


def test_the_baseline_is_the_same_whatever_the_guided_run_does(make_config):
    """``plain`` leaves nothing of sources and terms, so the comparison is with one and the same training."""
    first = make_config(guidance={"lambda_direction": 0.3}, alignment={"refresh_interval": 2})
    second = make_config(guidance={"lambda_magnitude": 2.0, "hvp": "exact"}, sources=[])
    values = []
    for config in (first, second):
        target, _ = load_tasks(config)
        outcome = run_training(plain(config), target, [], {}, torch.device("cpu"))
        values.append(outcome.model.state_dict())
    assert values[0].keys() == values[1].keys()
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])


def test_sources_of_weight_zero_are_left_out(make_config):
    config = make_config(guidance={"lambda_direction": 0.0, "lambda_magnitude": 0.0})
    target, sources = load_tasks(config)
    alone = run_training(config, target, [], {}, torch.device("cpu"))
    ignored = run_training(config, target, sources, {"clean": 0.0}, torch.device("cpu"))
    for first, second in zip(alone.model.parameters(), ignored.model.parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_learning_rate_rises_falls_and_never_reaches_zero():
    for warmup in (0.0, 0.1, 0.5, 1.0):
        factors = [learning_rate_factor(step, 40, warmup) for step in range(40)]
        peak = factors.index(max(factors))
        assert factors[:peak] == sorted(factors[:peak])
        assert factors[peak:] == sorted(factors[peak:], reverse=True)
        assert all(0 < factor <= 1 for factor in factors)
        assert abs(peak - warmup * 40) <= 1
