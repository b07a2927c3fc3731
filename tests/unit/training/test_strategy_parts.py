"""The parts that strategies are made of: frozen parts, schedules, combinations, sharpness-aware steps, probes."""

from functools import partial

import pytest
import torch

from sgg_ray.errors import ConfigError
from sgg_ray.guidance import Combination
from sgg_ray.models import PretrainedModel, build_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training import Hooks, run_training
from sgg_ray.training.passes import SOURCES, TARGET

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0}
CPU = torch.device("cpu")
EQUAL = {"clean": 0.5, "flipped": 0.5}


def trained(config, weights=EQUAL, **options):
    target, sources = load_tasks(config)
    before = dict(build_model(config, [target]).named_parameters())
    outcome = run_training(config, target, sources, weights, CPU, **options)
    after = dict(outcome.model.named_parameters())
    return outcome, {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_heads_alone_and_biases_alone_are_trained_when_asked_for(make_config):
    off = {**OFF, "lambda_source": 0.0}
    outcome, changed = trained(make_config(guidance=off, model={"trainable": "heads"}), {})
    assert changed == {"heads.0.weight", "heads.0.bias"}
    assert outcome.trainable == 2 * 32 + 2
    _, changed = trained(make_config(guidance=off, model={"trainable": "biases"}), {})
    assert all(name.endswith("bias") or name.startswith("heads") for name in changed)
    assert any(name.startswith("backbone") for name in changed)


def test_a_model_from_memory_trains_like_one_from_disk(make_config):
    for adapter in (None, {"peft_type": "lora", "r": 2}):
        config = make_config(model={"adapter": adapter})
        foundation = PretrainedModel(config.model)
        fresh, _ = trained(config)
        for _ in range(2):  # the first training must not leave a trace
            again, _ = trained(config, foundation=foundation)
            for one, other in zip(fresh.model.parameters(), again.model.parameters(), strict=True):
                assert torch.equal(one, other)


def test_sharpness_aware_steps_are_those_of_the_definition(make_trainer):
    """One SAM step by hand: the gradient at θ + ρ g/‖g‖ on the same batch."""
    rho = 0.05
    sam = {
        **OFF,
        "lambda_source": 0.0,
        "lambda_magnitude": rho,
        "fd_step": rho,
        "gradient_floor": 0.0,
        "warmup_ratio": 0.0,
    }
    trainer = make_trainer(used=(), weights={}, guidance=sam, train={"warmup_ratio": 0.0})
    for _ in range(3):  # away from the zero head
        trainer._step()
        trainer.step += 1
    trainer.model.train()
    passes, step = trainer.passes, trainer.step
    pairs = passes.target_batch(step)
    passes.backward(pairs, len(pairs), step, TARGET)
    g, theta = trainer.flat.gradient.clone(), trainer.flat.values.clone()
    trainer.flat.values.add_(rho * g / g.norm())
    passes.backward(pairs, len(pairs), step, TARGET)
    expected = trainer.flat.gradient.clone()
    trainer.flat.values.copy_(theta)
    passes.backward(pairs, len(pairs), step, TARGET)
    losses = partial(passes.losses, pairs, len(pairs), step, TARGET)
    trainer.guidance.apply(step, losses, None, lambda tensor: None)
    torch.testing.assert_close(trainer.flat.gradient, expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(expected, g, rtol=1e-2)


def test_a_sequential_schedule_sees_sources_first_and_then_the_target_alone(make_config):
    config = make_config(guidance=OFF, train={"schedule": "sequential", "max_steps": 8, "logging_steps": 1})
    events = []
    _, changed = trained(config, hooks=Hooks(on_events=events.extend))
    assert ["source_loss" in event for event in events] == [True] * 4 + [False] * 4
    assert ["loss" in event for event in events] == [False] * 4 + [True] * 4
    rates = [event["learning_rate"] for event in events]
    assert rates[:4] == rates[4:]
    assert "heads.0.weight" in changed


def test_the_second_half_of_a_sequential_schedule_is_a_training_on_the_target_from_there(make_trainer):
    train = {"schedule": "sequential", "max_steps": 6, "weight_decay": 0.0}
    trainer = make_trainer(guidance=OFF, train=train)
    for _ in range(3):
        trainer._step()
        trainer.step += 1
    alone = make_trainer(
        used=(), weights={}, guidance={**OFF, "lambda_source": 0.0}, train={**train, "max_steps": 3}
    )
    seed, batch = alone.passes.seed, alone.passes.target_batch
    alone.passes.seed = lambda step, *place: seed(step + 3, *place)
    alone.passes.target_batch = lambda step: batch(step + 3)
    alone.model.load_state_dict(trainer.model.state_dict())
    for number in range(3):
        trainer._step()
        trainer.step += 1
        alone.step = number
        alone._step()
    state = alone.model.state_dict()
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["pcgrad", "cagrad", "upgrad", "mgda"])
def test_combinations_agree_with_torchjd_and_do_what_they_promise(method):
    from torchjd import aggregation

    torch.manual_seed(1)
    rows = torch.randn(3, 50, dtype=torch.float64)
    rows[1] -= 1.5 * rows[0]  # a conflict
    found = Combination(method)(rows, seed=3)
    torch.manual_seed(3)
    reference = {
        "pcgrad": aggregation.PCGrad,
        "cagrad": lambda: aggregation.CAGrad(c=0.5),
        "upgrad": aggregation.UPGrad,
        "mgda": aggregation.MGDA,
    }[method]()
    torch.testing.assert_close(found, reference(rows), rtol=1e-2, atol=1e-2)
    if method in ("upgrad", "mgda"):
        assert (rows @ found > -1e-3).all()  # no task's loss rises to first order
    torch.testing.assert_close(Combination(method)(100 * rows, seed=3), 100 * found, rtol=1e-3, atol=1e-2)


def test_without_a_conflict_projected_gradients_are_the_plain_sum():
    """Orthogonal gradients: pcgrad projects nothing."""
    rows = torch.eye(3, 7)
    torch.testing.assert_close(Combination("pcgrad")(rows, seed=0), rows.sum(0))


def test_the_rows_that_are_combined_add_up_to_the_mixture(make_trainer):
    plain = make_trainer(guidance=OFF)
    combined = make_trainer(guidance=OFF, train={"combine": "upgrad"})
    for trainer in (plain, combined):
        trainer._step()  # away from the zero head
        trainer.step += 1
        trainer.model.eval()  # dropout masks differ with what a batch is cut into
    combined.flat.values.copy_(plain.flat.values)
    pairs = combined.passes.source_batch(1, combined.weights)
    rows, mixture, loss = combined.phases[0].update.rows(pairs, 1, combined.weights)
    pairs = plain.passes.source_batch(1, plain.weights)
    expected = plain.passes.backward(pairs, plain.settings.source_batch_size, 1, SOURCES)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mixture, plain.flat.gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(rows[1:].sum(0), 2 * mixture)  # of two sources, each with its own gradient
    combined._step()
    assert torch.isfinite(combined.flat.values).all()


@pytest.mark.parametrize("method", ["pcgrad", "mgda"])
def test_a_combined_training_is_repeatable_and_differs_from_the_sum(make_config, method):
    config = make_config(guidance=OFF, train={"combine": method})
    first, second = trained(config)[0].model.parameters(), trained(config)[0].model.parameters()
    plain = trained(make_config(guidance=OFF))[0].model.parameters()
    equal, same_as_sum = [], []
    for one, two, other in zip(first, second, plain, strict=True):
        equal.append(torch.equal(one, two))
        same_as_sum.append(torch.equal(one, other))
    assert all(equal)
    assert not all(same_as_sum)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr("sgg_ray.guidance.combine.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"train.combine: 'upgrad' needs the packages torchjd, qpsolvers"):
        Combination("upgrad")


def test_looking_at_the_sources_changes_nothing(make_config):
    config = make_config(guidance={**OFF, "lambda_source": 0.0}, train={"logging_steps": 2})
    target, sources = load_tasks(config)
    events = []
    hooks = Hooks(on_events=events.extend, probe=(sources, EQUAL))
    looked = run_training(config, target, [], {}, CPU, hooks=hooks)
    plain = run_training(config, target, [], {}, CPU)
    for one, other in zip(looked.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [event["step"] for event in events if "source_cosine" in event] == [0, 6]


def test_the_probe_sees_agreement_and_conflict(make_config):
    cosines = {}
    for name in ("clean", "flipped"):
        config = make_config(guidance={**OFF, "lambda_source": 0.0}, train={"max_steps": 1, "batch_size": 16})
        target, sources = load_tasks(config)
        events = []
        hooks = Hooks(on_events=events.extend, probe=(sources, {name: 1.0}))
        run_training(config, target, [], {}, CPU, hooks=hooks)
        cosines[name] = events[0]["source_cosine"]
    assert cosines["clean"] > 0 > cosines["flipped"]
