import pytest
import torch

from sgg_ray.guidance import Measures, Scales, Strengths, blend, coefficients, penalty

PRIVATE, SHARED = 3, 5


def _vectors(seed: int = 0) -> torch.Tensor:
    """g, r, s [3, 8]; s is zero on the private part."""
    vectors = torch.randn(
        3, PRIVATE + SHARED, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    vectors[2, :PRIVATE] = 0
    return vectors


def _measures(vectors: torch.Tensor) -> Measures:
    parts = vectors[:, :PRIVATE], vectors[:, PRIVATE:]
    return Measures.of(torch.stack([part @ part.T for part in parts]))


def _scales(floor: float = 0.0, threshold: float = float("inf")) -> Scales:
    floors = torch.full((2,), floor, dtype=torch.float64)
    return Scales(floors, torch.tensor(threshold, dtype=torch.float64))


def _strengths(direction: float = 0.0, magnitude: float = 0.0, alignment: float = 0.0) -> Strengths:
    return Strengths(torch.tensor([direction, alignment], dtype=torch.float64), magnitude)


def _combine(found: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return torch.cat([found[0] @ vectors[:, :PRIVATE], found[1] @ vectors[:, PRIVATE:]])


TERMS = [
    {"direction": 0.7},
    {"magnitude": 0.7},
    {"alignment": 0.7},
    {"direction": 0.5, "magnitude": 0.3, "alignment": 0.9},
]


@pytest.mark.parametrize("terms", TERMS, ids=lambda terms: "+".join(terms))
def test_coefficients_are_the_gradient_of_the_penalty(terms: dict):
    vectors = _vectors()
    g = vectors[0].clone().requires_grad_()
    value = penalty(_measures(torch.stack([g, *vectors[1:]])), _strengths(**terms))
    (expected,) = torch.autograd.grad(value, g)
    found = coefficients(_measures(vectors), _strengths(**terms), _scales())
    torch.testing.assert_close(_combine(found, vectors), expected)


@pytest.mark.parametrize("name", ["direction", "alignment"])
def test_cosine_terms_do_not_depend_on_any_length_but_that_of_g(name: str):
    vectors = _vectors()
    plain = _combine(coefficients(_measures(vectors), _strengths(**{name: 1.0}), _scales()), vectors)
    for scale, factor in (((1, 7, 7), 1.0), ((4, 1, 1), 0.25)):
        scaled = vectors * torch.tensor(scale).unsqueeze(1)
        found = coefficients(_measures(scaled), _strengths(**{name: 1.0}), _scales())
        torch.testing.assert_close(_combine(found, scaled), factor * plain)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_term_without_its_vector_counts_as_nothing(missing: int):
    vectors = _vectors()
    vectors[missing] = 0
    strengths, scales = _strengths(0.5, 0.0, 0.9), _scales(0.1, 0.5)
    found = coefficients(_measures(vectors), strengths, scales)
    assert torch.isfinite(found).all()
    assert (found[:, missing] == 0).all() or missing == 0
    if missing == 0:
        assert (_combine(found, vectors) == 0).all()
    assert torch.isfinite(penalty(_measures(vectors), strengths))


def test_below_the_floor_v_shrinks_with_g():
    vectors = _vectors()
    strengths = _strengths(0.5, 0.3, 0.9)
    bases = [torch.linalg.vector_norm(vectors[0]), torch.linalg.vector_norm(vectors[0, PRIVATE:])]
    for name in ("direction", "magnitude"):
        one = _strengths(**{name: 0.5})
        above = _combine(coefficients(_measures(vectors), one, _scales(0.0)), vectors)
        below = _combine(coefficients(_measures(vectors), one, _scales(10 * bases[0].item())), vectors)
        torch.testing.assert_close(below, above / 10)
    tiny = vectors * torch.tensor([1e-9, 1, 1]).unsqueeze(1)
    found = coefficients(_measures(tiny), strengths, _scales(1.0))
    assert _combine(found, tiny).norm() < 2


@pytest.mark.parametrize("strength", [0.0, 0.3, 3.0])
def test_blend_is_never_longer_than_g_and_leans_towards_the_references(strength: float):
    vectors = _vectors()
    found = blend(_measures(vectors), _strengths(strength, 0.0, strength), _scales())
    u = _combine(found, vectors)
    assert u.norm() <= vectors[0].norm() * (1 + 1e-12)
    if not strength:
        assert torch.equal(u, vectors[0])
    else:
        cosine = torch.nn.functional.cosine_similarity
        assert cosine(u, vectors[1], dim=0) > cosine(vectors[0], vectors[1], dim=0)


def test_blend_shortens_what_is_longer_than_usual():
    vectors = _vectors()
    norm = vectors[0].norm().item()
    usual = blend(_measures(vectors), _strengths(magnitude=1.0), _scales(threshold=2 * norm))
    torch.testing.assert_close(_combine(usual, vectors), vectors[0])
    abnormal = blend(_measures(vectors), _strengths(magnitude=1.0), _scales(threshold=norm / 4))
    torch.testing.assert_close(_combine(abnormal, vectors), vectors[0] / 4)
