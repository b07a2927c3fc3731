"""The guided gradient against the written objective differentiated twice, in float64."""

import pytest
import torch
from oracle import build_case, written_objective

from sgg_ray.errors import ModelError

TERMS = [
    {"lambda_direction": 0.7},
    {"lambda_magnitude": 0.7},
    {"lambda_alignment": 0.7},
    {"lambda_direction": 0.5, "lambda_magnitude": 0.3, "lambda_alignment": 0.9},
]
MODELS = [("mlp", False), ("bert", False), ("bert", True), ("llama", False), ("llama", True)]
TOLERANCE = {"exact": 1e-9, "central_difference": 1e-6, "finite_difference": 1e-3}
RADIUS = {"exact": 1.0, "central_difference": 1e-5, "finite_difference": 1e-5}


def _error(found: torch.Tensor, expected: torch.Tensor, plain: torch.Tensor) -> float:
    """Relative to H·v, not to the gradient that it is added to."""
    return ((found - expected).norm() / (expected - plain).norm()).item()


@pytest.mark.parametrize("mode", ["exact", "central_difference", "finite_difference"])
@pytest.mark.parametrize("terms", TERMS, ids=lambda terms: "+".join(terms))
@pytest.mark.parametrize(("kind", "lora"), MODELS)
def test_guided_gradient_is_that_of_the_objective(kind: str, lora: bool, terms: dict, mode: str):
    case = build_case(kind, lora)
    plain = case.backward()
    expected, value = written_objective(case, **terms)
    found, metrics = case.guide(hvp=mode, fd_relative_change=RADIUS[mode], **terms)
    assert _error(found, expected, plain) < TOLERANCE[mode]
    assert metrics["penalty"].item() == pytest.approx(value.item(), rel=1e-9)
    ratio = (found - plain).norm() / plain.norm()
    assert metrics["hvp_ratio"].item() == pytest.approx(ratio.item(), rel=1e-6)


@pytest.mark.parametrize("mode", ["exact", "central_difference"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_gradient_checkpointing_and_micro_batches_change_nothing(kind: str, mode: str):
    case = build_case(kind, micro_batch=4, checkpointing=True)
    plain = case.backward()
    expected, _ = written_objective(case, **TERMS[-1])
    found, _ = case.guide(hvp=mode, fd_relative_change=RADIUS[mode], **TERMS[-1])
    assert _error(found, expected, plain) < TOLERANCE[mode]


def test_below_the_floor_the_terms_fade_with_the_gradient():
    case = build_case("mlp")
    plain = case.backward()
    full, _ = case.guide(lambda_direction=0.5, hvp="exact", gradient_floor=0.0)
    guidance = case.guidance(lambda_direction=0.5, hvp="exact")
    guidance.norms.add(40 * plain.norm().repeat(2))  # so that δ = 4 ‖g‖
    case.backward()
    guidance.apply(0, case.losses, None, lambda tensor: None)
    torch.testing.assert_close(case.flat.gradient - plain, (full - plain) / 4)


def test_exact_says_what_to_do_with_a_model_that_cannot():
    case = build_case("mlp")

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return gradient.clone()

    last = torch.nn.Module()
    last.forward = Once.apply
    body = case.model.body
    assert isinstance(body, torch.nn.Sequential)
    body.append(last)
    with pytest.raises(ModelError, match="finite_difference"):
        case.guide(hvp="exact", lambda_magnitude=0.1)
