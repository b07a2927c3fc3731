"""The three regularisers φ(g) in closed form: their values, and the vector v = Σ λ ∂φ/∂g as coefficients.

All of them depend on g, r and s only through inner products, so both follow from the Gram matrices of (g, r, s) with a
few operations on tiny tensors, which stay on the device. docs/method.md has the objective.

    direction   1 − cos(g, r)             ∂/∂g = −(r/‖r‖ − cos(g, r)·g/‖g‖) / max(‖g‖, δ)
    magnitude   ‖g‖                       ∂/∂g = g / max(‖g‖, δ)
    alignment   1 − cos(g, s), shared     ∂/∂g = −(s/‖s‖ − cos(g, s)·g/‖g‖) / max(‖g‖, δ), over the shared parameters

δ keeps 1/‖g‖ from exploding once the few-shot loss is nearly fitted. Below it the vectors are those of the term
times ‖g‖/δ: they fade with g.

On a GPU every operation here is a launch, and a small model's step is bound by launches: direction and alignment are
computed side by side, as a *pair* of (the whole vector with r, the shared part with s).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

G, R, S = 0, 1, 2  # rows of a Gram matrix
PRIVATE, SHARED = 0, 1  # Gram matrices, and rows of coefficients


@dataclass(frozen=True)
class Strengths:
    """λ of the three terms.

    Attributes:
        pair: [2] of direction and of alignment, float64, on the device.
        magnitude: of the magnitude term.
        factor: what all are multiplied by at this step.
    """

    pair: Tensor
    magnitude: float
    factor: float = 1.0


@dataclass(frozen=True)
class Scales:
    """What the terms are measured against, from the steps before.

    Attributes:
        floors: [2] δ for the norm over all and over the shared parameters.
        threshold: τ, the running median of ‖g‖, which only :func:`blend` reads; inf where there is none yet.
    """

    floors: Tensor
    threshold: Tensor


@dataclass(frozen=True)
class Measures:
    """Norms and cosines of a step, float64, on the device; a cosine that is not defined is nan.

    Attributes:
        grams: [2, 3, 3] of (g, r, s) over the private and over the shared parameters.
        norms: [2] ‖g‖ over all and over the shared parameters.
        partners: [2] ‖r‖, and ‖s‖ over the shared parameters.
        cosines: [2] cos(g, r), and cos(g, s) over the shared parameters.
    """

    grams: Tensor
    norms: Tensor
    partners: Tensor
    cosines: Tensor

    @classmethod
    def of(cls, grams: Tensor) -> "Measures":
        """Compute norms and cosines from the Gram matrices of g, r and ĝ_S."""
        whole, shared = grams[PRIVATE] + grams[SHARED], grams[SHARED]
        numbers = torch.stack(
            [whole[G, G], shared[G, G], whole[R, R], shared[S, S], whole[G, R], shared[G, S]]
        ).view(3, 2)
        lengths = numbers[:2].sqrt()
        cosines = (numbers[2] / (lengths[0] * lengths[1])).clamp(-1, 1)
        return cls(grams, lengths[0], lengths[1], cosines)


def penalty(measures: Measures, strengths: Strengths) -> Tensor:
    """Σ λ φ(g), what the regularisers add to the loss; terms that are not defined count as 0."""
    distances = torch.nan_to_num(1 - measures.cosines, nan=0.0)
    return (torch.dot(strengths.pair, distances) + strengths.magnitude * measures.norms[0]) * strengths.factor


def coefficients(measures: Measures, strengths: Strengths, scales: Scales) -> Tensor:
    """[2, 3] coefficients (a, b, c) of v = a·g + b·r + c·s over the private and over the shared parameters.

    A term whose vector is zero (no reference yet, no source, g = 0) contributes nothing. Nor does anything where a
    norm is not finite; g or s itself then makes v so.
    """
    norms, cosines = measures.norms, measures.cosines
    bases = torch.maximum(norms, scales.floors)
    # 0 for an undefined cosine: nan · 0 would be nan, hence the comparison of the cosine with itself
    pulls = strengths.pair * (cosines == cosines) / bases
    of_partner = -pulls / measures.partners
    of_gradient = torch.nan_to_num(pulls * cosines / norms, nan=0.0, posinf=0.0, neginf=0.0)
    a = strengths.magnitude / bases[0] + of_gradient[0]
    b, c = of_partner.unbind()
    found = torch.stack([a, b, torch.zeros_like(a), a + of_gradient[1], b, c]).view(2, 3)
    return torch.nan_to_num(found * strengths.factor, nan=0.0, posinf=0.0, neginf=0.0)


def blend(measures: Measures, strengths: Strengths, scales: Scales) -> Tensor:
    """[2, 3] coefficients (a, b, c) of the first-order update a·g + b·r + c·s.

    No second derivative: g is pulled towards r and s,

        u = g + ‖g‖·(λ_direction r/‖r‖ + λ_alignment s/‖s‖ on the shared parameters),

    and shortened to at most ‖g‖. The magnitude term pulls that limit down towards τ, the running median of ‖g‖:
    ‖g‖ / (1 + λ_magnitude·max(0, ‖g‖/τ − 1)).
    """
    norm = measures.norms[0]
    pulls = strengths.pair * strengths.factor * norm / measures.partners
    b, c = torch.nan_to_num(pulls, nan=0.0, posinf=0.0, neginf=0.0).unbind()
    one = torch.ones_like(norm)
    found = torch.stack([one, b, torch.zeros_like(norm), one, b, c]).view(2, 3)
    excess = torch.nan_to_num(norm / scales.threshold - 1, nan=0.0, posinf=0.0).clamp(min=0)
    limit = norm / (1 + strengths.magnitude * strengths.factor * excess)
    shrink = (limit / combined_norm(measures, found)).clamp(max=1)
    return found * torch.nan_to_num(shrink, nan=1.0)


def combined_norm(measures: Measures, found: Tensor) -> Tensor:
    """‖a·g + b·r + c·s‖ for coefficients [2, 3] over the private and over the shared parameters."""
    squares = found.unsqueeze(1) @ measures.grams @ found.unsqueeze(2)
    return squares.sum().clamp(min=0).sqrt()
