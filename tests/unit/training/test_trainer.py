"""What a step does: repeatable, independent of how a batch is cut, and sane when a gradient is not finite."""

import math

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from sgg_ray.errors import TrainingError
from sgg_ray.training.passes import TARGET

TERMS = {"lambda_direction": 0.2, "lambda_magnitude": 0.2, "lambda_alignment": 0.1, "warmup_ratio": 0.0}


def run(trainer) -> list[dict]:
    events = []
    trainer.run(events.extend)
    return events


def break_losses(trainer, bad_steps, value=float("nan")):
    """Make every loss of the given steps ``value`` without touching its graph otherwise."""
    losses = trainer.model.losses
    trainer.model.losses = lambda batch: losses(batch) * (value if trainer.step in bad_steps else 1.0)


def state_of(trainer) -> dict[str, torch.Tensor]:
    moments = {
        f"{number}.{name}": value
        for number, state in enumerate(trainer.optimiser.state.values())
        for name, value in state.items()
    }
    state = {"values": trainer.flat.values, **moments, **trainer.guidance.state_dict()}
    return {name: value.clone() for name, value in state.items()}


def test_training_learns_from_sources(make_trainer):
    events = run(make_trainer(used=("clean",), train={"max_steps": 40, "warmup_ratio": 0.0}, guidance=TERMS))
    assert [event["step"] for event in events] == list(range(40))
    assert events[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)  # a zero head predicts uniformly
    assert events[-1]["loss"] < 0.5 * events[0]["loss"]
    assert events[-1]["source_loss"] < 0.7 * events[0]["source_loss"]


@pytest.mark.parametrize("hvp", ["finite_difference", "central_difference", "exact", "first_order"])
def test_a_seed_repeats_a_training_bit_for_bit(make_trainer, hvp):
    settings = {"guidance": {**TERMS, "hvp": hvp}, "train": {"max_steps": 4}}
    first, again, other = (make_trainer(seed=seed, **settings) for seed in (0, 0, 1))
    for trainer in (first, again, other):
        torch.rand(trainer.config.seed + 3)  # whatever the process drew before must not matter
        run(trainer)
    assert torch.equal(first.flat.values, again.flat.values)
    assert not torch.equal(first.flat.values, other.flat.values)


@pytest.mark.parametrize("hvp", ["finite_difference", "exact"])
def test_micro_batches_add_up_to_the_batch(make_trainer, still_encoder, hvp):
    """One step's gradient, H·v included. (After it, Adam turns rounding into steps of its own.)"""
    gradients = []
    for size in (None, 3):
        trainer = make_trainer(
            model={"path": str(still_encoder)},
            train={"micro_batch_size": size, "max_grad_norm": 1e9},
            guidance={**TERMS, "hvp": hvp},
        )
        with torch.no_grad():  # a zero head would send nothing into the backbone
            generator = torch.Generator().manual_seed(1)
            for parameter in trainer.model.heads.parameters():
                parameter.normal_(generator=generator)
        trainer._step()
        gradients.append(trainer.flat.gradient.clone())
    difference = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert difference < 1e-4 if hvp == "finite_difference" else difference < 1e-5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_without_a_finite_gradient_changes_nothing(make_trainer, value):
    trainer = make_trainer(guidance=TERMS)
    break_losses(trainer, {3}, value)
    for _ in range(3):
        trainer._step()
        trainer.step += 1
    before = state_of(trainer)
    metrics = trainer._step()
    trainer.step += 1
    after = state_of(trainer)
    assert metrics["skipped"] == 1
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    trainer._step()
    assert not torch.equal(after["values"], trainer.flat.values)
    assert torch.isfinite(trainer.flat.values).all()


def test_skipped_steps_are_counted_and_reported(make_trainer):
    trainer = make_trainer(guidance=TERMS)
    break_losses(trainer, {0, 2, 3})
    events = run(trainer)
    assert [event["skipped"] for event in events] == [1, 0, 1, 1, 0, 0, 0, 0]
    assert trainer.skipped == 3
    assert torch.isfinite(trainer.flat.values).all()


@pytest.mark.parametrize("hvp", ["finite_difference", "central_difference", "exact", "first_order"])
def test_a_gradient_of_a_hundred_times_the_usual_length_moves_as_far_as_another(make_trainer, hvp):
    """Clipping and Adam bound the step; reference and running norms do not let one batch take them over."""
    settings = {
        "guidance": {**TERMS, "hvp": hvp},
        "train": {"max_steps": 12, "warmup_ratio": 0.0, "logging_steps": 1},
    }
    trainer, moves = make_trainer(used=("clean",), **settings), []
    break_losses(trainer, {6}, value=100.0)
    before, events = trainer.flat.values.clone(), []

    def note(found):
        nonlocal before
        events.extend(found)
        moves.append((trainer.flat.values - before).norm().item())
        before = trainer.flat.values.clone()

    trainer.run(note)
    norms = [event["gradient_norm"] for event in events]
    assert norms[6] > 20 * max(norms[:6])
    assert moves[6] < 2 * max(moves[:6])
    assert trainer.skipped == 0
    assert torch.isfinite(trainer.flat.values).all()
    assert events[-1]["loss"] < events[0]["loss"]


@pytest.mark.parametrize("hvp", ["finite_difference", "central_difference"])
def test_a_model_stored_in_bfloat16_has_no_worse_curvature(make_trainer, still_encoder, tmp_path, hvp):
    """Its parameters are trained in float32: finite differences of bfloat16 parameters would be rounding."""
    model = AutoModel.from_pretrained(still_encoder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(still_encoder).save_pretrained(tmp_path / "half")
    terms = {
        "lambda_direction": 0.0,
        "lambda_magnitude": 0.2,
        "lambda_alignment": 0.0,
        "lambda_source": 0.0,
        "warmup_ratio": 0.0,
    }
    changes = {"model": {"path": str(tmp_path / "half")}, "train": {"max_steps": 8}}
    difference, exact = (
        make_trainer(used=(), guidance={**terms, "fd_relative_change": 0.02, "hvp": mode}, **changes)
        for mode in (hvp, "exact")
    )
    assert {value.dtype for value in difference.model.parameters()} == {torch.float32}
    run(difference)
    exact.flat.values.copy_(difference.flat.values)
    first, second = (curvature(trainer) for trainer in (difference, exact))
    assert torch.cosine_similarity(first, second, dim=0) > 0.99


def curvature(trainer) -> torch.Tensor:
    """H·v [P] of the magnitude term on the first target batch."""
    passes = trainer.passes
    pairs = passes.target_batch(0)
    passes.backward(pairs, len(pairs), 0, TARGET)
    plain = trainer.flat.gradient.clone()
    trainer.guidance.apply(0, lambda: passes.losses(pairs, len(pairs), 0, TARGET), None, lambda tensor: None)
    return trainer.flat.gradient - plain


def test_a_source_gradient_that_is_not_finite_skips_the_step(make_trainer):
    trainer = make_trainer(guidance={"lambda_source": 1.0})
    losses = trainer.model.losses
    calls = []

    def broken(batch):
        calls.append(len(batch))
        return losses(batch) * (float("nan") if len(calls) == 1 else 1.0)  # the source batch comes first

    trainer.model.losses = broken
    before = trainer.flat.values.clone()
    assert trainer._step()["skipped"] == 1
    assert torch.equal(trainer.flat.values, before)


def test_ten_skipped_steps_in_a_row_stop_the_training(make_trainer):
    trainer = make_trainer(train={"max_steps": 40, "logging_steps": 4})
    break_losses(trainer, set(range(5, 40)))
    with pytest.raises(TrainingError, match="steps in a row had a gradient that was not finite"):
        run(trainer)
    assert trainer.step == 16  # told at the first transfer after the tenth
    assert torch.isfinite(trainer.flat.values).all()


def test_nine_skipped_steps_in_a_row_do_not(make_trainer):
    trainer = make_trainer(train={"max_steps": 21, "logging_steps": 7})
    break_losses(trainer, {*range(1, 10), *range(11, 20)})
    run(trainer)
    assert trainer.skipped == 18


def test_weights_arrive_one_refresh_later_and_late_ones_are_counted(make_trainer):
    class Updates:
        def __init__(self):
            self.steps, self.sizes = [], []

        def refresh(self, step, values):
            self.steps.append(step)
            self.sizes.append(len(values))
            return {2: None, 4: {"clean": 1.0}, 6: None}[step]

    trainer = make_trainer(alignment={"refresh_interval": 2})
    updates = Updates()
    trainer.run(updates=updates)
    assert updates.steps == [2, 4, 6]
    assert set(updates.sizes) == {trainer.flat.size}
    assert trainer.weights == {"clean": 1.0, "flipped": 0.0}
    assert trainer.late_updates == 1
