"""A guided transformers.Trainer trains what the product's own loop trains, and leaves the rest of it alone."""

import itertools
from typing import Any

import product_model as other
import pytest
import torch
from transformers import Trainer

from sgg_ray.errors import CheckpointError, ConfigError
from sgg_ray.integrations.transformers import STATE, guided

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "lambda_source": 0.7}
OFF = dict.fromkeys(TERMS, 0.0)


@pytest.fixture
def configure(make_config, still_encoder):
    def make(dropout=False, train=None, **terms):
        rates = {"max_steps": 6, "batch_size": 8, "learning_rate": 1e-3, "head_learning_rate": 1e-3}
        model = {} if dropout else {"model": {"path": str(still_encoder)}}
        return make_config(
            **model,
            guidance={**TERMS, "warmup_ratio": 0.5, **terms},
            train={**rates, "weight_decay": 0.0, "source_batch_size": 6, **(train or {})},
        )

    return make


def run(config, model, folder, base=Trainer, batch=8, accumulation=1, **more):
    resume = more.pop("resume_from_checkpoint", None)
    trainer = other.trainer_class(config, model, base)(
        model=model,
        args=other.arguments(config, str(folder), batch, accumulation, **more),
        train_dataset=other.in_order(config, model),
        optimizers=other.optimisers(model, config),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize(
    ("terms", "batch", "accumulation", "passes"),
    [
        ({"hvp": "finite_difference"}, 8, 1, 6 * 3),  # sources, target, and the target once more
        ({"hvp": "exact", "interval": 2}, 2, 4, 6 * (3 + 4) + 3 * 4),
        pytest.param(
            {"hvp": "central_difference", "lambda_source": 0.0}, 4, 2, 6 * (2 + 2 + 4), marks=pytest.mark.slow
        ),
    ],
)
def test_it_trains_what_the_products_loop_trains(configure, tmp_path, terms, batch, accumulation, passes):
    """All terms, the mixture, clipping and the schedule; batches at once or accumulated. Parameters within 1e-5, and no
    pass more than the product's."""
    config = configure(**terms)
    own, model = other.both(config)
    events = []
    own.run(events.extend)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    trainer = run(config, model, tmp_path, batch=batch, accumulation=accumulation)
    torch.testing.assert_close(
        other.parameters_of(model.model), other.parameters_of(own.model), atol=1e-5, rtol=0
    )
    assert len(calls) == passes
    logs = [line for line in trainer.state.log_history if "loss" in line]
    assert len(logs) == len(events) == 6
    for theirs, mine in zip(logs, events, strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
        for name in ("source_loss", "gradient_norm", "penalty", "alignment_cosine"):
            assert theirs[f"guidance/{name}"] == pytest.approx(mine[name], rel=1e-3, abs=1e-4), name


def test_without_a_term_it_is_the_plain_trainer_bit_for_bit(configure, tmp_path):
    """Dropout included: random numbers are drawn as before."""
    config = configure(dropout=True, **OFF)
    found = []
    for make in (lambda model: guided(Trainer, **OFF), lambda model: Trainer):
        model = other.both(config)[1]
        torch.manual_seed(11)
        trainer = make(model)(
            model=model,
            args=other.arguments(config, str(tmp_path), 4, 2, max_grad_norm=0.5),
            train_dataset=other.in_order(config, model),
        )
        trainer.train()
        found.append((other.parameters_of(model), [line.get("loss") for line in trainer.state.log_history]))
    assert found[0][1] == found[1][1]
    for name, value in found[1][0].items():
        assert torch.equal(found[0][0][name], value), name


def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(configure, tmp_path):
    """Dropout, the reference direction, the distance and the draws of sources: bit for bit."""
    config = configure(dropout=True)
    saved = {"save_strategy": "steps", "save_steps": 3}
    _, model = other.both(config)
    straight = run(config, model, tmp_path / "runs", batch=4, accumulation=2, **saved)
    _, again = other.both(config)
    resumed = run(
        config,
        again,
        tmp_path / "runs",
        batch=4,
        accumulation=2,
        resume_from_checkpoint=str(tmp_path / "runs" / "checkpoint-3"),
        **saved,
    )
    assert resumed.state.global_step == 6
    for name, value in other.parameters_of(model).items():
        assert torch.equal(other.parameters_of(again)[name], value), name
    for name, value in straight.guided_gradient.guidance.state_dict().items():
        assert torch.equal(resumed.guided_gradient.guidance.state_dict()[name], value), name

    state = tmp_path / "runs" / "checkpoint-3" / STATE
    damaged = state.read_bytes()[:100]
    state.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="cannot be read"):
        run(config, again, tmp_path / "runs", batch=4, resume_from_checkpoint=str(state.parent))
    state.unlink()
    with pytest.raises(CheckpointError, match="written without guidance"):
        run(config, again, tmp_path / "runs", batch=4, resume_from_checkpoint=str(state.parent))


@pytest.mark.slow
def test_bfloat16_guides_the_same_way(configure, tmp_path):
    """The finite difference adapts to the rounding: the way that the parameters take has a cosine of 0.97."""
    config = configure()
    ways = []
    for bf16 in (False, True):
        _, model = other.both(config)
        before = other.parameters_of(model)
        run(config, model, tmp_path, bf16=bf16)
        after = other.parameters_of(model)
        assert all(value.dtype == torch.float32 for value in after.values())
        ways.append(torch.cat([(after[name] - before[name]).flatten() for name in before]))
    assert torch.cosine_similarity(*ways, dim=0) > 0.97
    assert not torch.equal(*ways)


def test_a_step_without_a_finite_gradient_is_left_out(configure, tmp_path):
    config = configure(lambda_source=0.0, lambda_alignment=0.0)
    _, model = other.both(config)

    class Broken(Trainer):
        def compute_loss(self, *args, **kwargs):
            loss: Any = super().compute_loss(*args, **kwargs)
            return loss * float("nan") if self.state.global_step == 2 else loss

    seen = []

    class Look(Broken):
        def log(self, logs, *args, **kwargs):
            seen.append(other.parameters_of(model))
            super().log(logs, *args, **kwargs)

    run(config, model, tmp_path, base=Look)
    changed = [
        any(not torch.equal(one[name], two[name]) for name in one)
        for one, two in itertools.pairwise(seen[:6])
    ]
    assert changed == [True, False, True, True, True]
    assert all(torch.isfinite(value).all() for value in other.parameters_of(model).values())


def test_evaluation_sees_the_users_data_and_no_source(configure, tmp_path):
    config = configure()
    _, model = other.both(config)
    rows = other.in_order(config, model)
    kind = other.trainer_class(config, model, Trainer)
    args = other.arguments(config, str(tmp_path), 8)
    assert kind(model=model, args=args, train_dataset=rows, eval_dataset=rows[:5]).eval_dataset == rows[:5]
    assert kind(model, args, None, rows).eval_dataset is None


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"lambda_directon": 0.1}, "guidance.lambda_directon: unknown key"),
        ({"lambda_direction": -1}, "guidance.lambda_direction: must be >= 0, found -1"),
        ({"weights": {"imdb": 1.0}}, "weights.imdb: names no source; found none"),
        ({"sources": {"a": [1]}, "weights": {"a": -0.5}}, "weights.a: must be at least 0, found -0.5"),
        ({"sources": {"a": [1]}, "weights": {"a": 1.5}}, "weights: must add up to at most 1, found 1.5"),
        ({"sources": {"a": []}}, "sources.a: must have a length and rows by number"),
        ({"sources": {"a": iter([])}}, "sources.a: must have a length and rows by number"),
        ({"source_batch_size": 0}, "source_batch_size: must be at least 1, found 0"),
    ],
)
def test_wrong_arguments_are_said_at_once(arguments, line):
    with pytest.raises(ConfigError) as raised:
        guided(Trainer, **arguments)
    assert line in str(raised.value)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"fp16": True}, "args.fp16: guidance has no loss scaling; use bf16=True"),
        ({"torch_compile": True}, "args.torch_compile: compiled code does not see moved parameters"),
        ({"optim": "lomo"}, "steps during backward"),
    ],
)
def test_what_leaves_no_room_for_guidance_is_refused(configure, tmp_path, monkeypatch, more, line):
    config = configure()
    _, model = other.both(config)
    args = other.arguments(config, str(tmp_path), 8)
    for name, value in more.items():  # some of them need packages or devices before they get so far
        monkeypatch.setattr(args, name, value)
    with pytest.raises(ConfigError, match=line):
        other.trainer_class(config, model, Trainer)(model=model, args=args, train_dataset=[])


def test_half_precision_parameters_are_refused(configure, tmp_path):
    config = configure()
    _, model = other.both(config)
    args = other.arguments(config, str(tmp_path), 8)
    with pytest.raises(ConfigError, match=r"is trained in half precision; load it with dtype=torch.float32"):
        guided(Trainer)(model=model.to(torch.bfloat16), args=args, train_dataset=[])
