"""Alignment score of one source: the cosine of its mean gradient with the target's, with an interval.

Everything is computed from inner products, never from gradients or sketches: each source worker holds the
target's sketches next to its own, so only three small matrices travel (docs/method.md, *Alignment scoring*).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sgg_ray.alignment.moments import SIGNAL_FLOOR, Moments, interaction, side_moments
from sgg_ray.alignment.student import student_quantile


@dataclass(frozen=True)
class Evidence:
    """Inner products of one source's gradients with the target's, all taken at the same θ.

    A *part* is what counts as one independent observation: the gradient of one example on the target's side,
    of one class-balanced batch on the source's. The mean gradient of a side is the plain mean of its parts.
    """

    cross: np.ndarray  # [n_source, n_target]: ⟨source part, target part⟩
    source_gram: np.ndarray  # [n_source, n_source]
    target_gram: np.ndarray  # [n_target, n_target]
    target_classes: np.ndarray  # [n_target] integers: the class of each target example

    def __post_init__(self):
        for name in ("cross", "source_gram", "target_gram"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "target_classes", np.asarray(self.target_classes, dtype=np.int64))
        if self.cross.ndim != 2 or 0 in self.cross.shape:
            raise ValueError(f"Evidence.cross must be [source parts, target parts], found {self.cross.shape}")
        sources, targets = self.cross.shape
        expected = {
            "source_gram": (sources, sources),
            "target_gram": (targets, targets),
            "target_classes": (targets,),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                fits = f"{shape} to fit cross {self.cross.shape}"
                raise ValueError(f"Evidence.{name} must be {fits}, found {found}")

    @property
    def is_finite(self) -> bool:
        """False when any gradient behind the inner products held NaN or infinity."""
        return all(np.isfinite(part).all() for part in (self.cross, self.source_gram, self.target_gram))


@dataclass(frozen=True)
class Score:
    """How far a source pulls the model the way the target does, and how much good that is expected to do.

    The interval ``low … high`` covers the *large-sample* cosine, the one that would be found with ever more
    examples of both tasks. ``value`` is the estimate that lies in it; ``observed`` is the cosine of the two mean
    gradients as they are, which noise draws towards zero. All lie in [−1, 1]; NaN when the gradients were not finite.

    Sources are ranked and weighted by ``utility``: labels that are partly wrong and texts of another kind leave the
    cosine as it is, but not what training on them brings (studies/log.md).
    """

    value: float
    low: float
    high: float
    norm_ratio: float  # ‖ḡ_s‖ / ‖ḡ_t‖, of the gradients as observed
    # Share of ‖ḡ_t‖² that is signal and not noise, in [0, 1]; 1 where one shot a class cannot tell.
    reliability: float
    observed: float
    source_reliability: float = 1.0  # share of ‖ḡ_s‖² that is signal and not noise, in (0, 1]
    domain_similarity: float = 1.0  # of the texts, in (0, 1], see ``sgg_ray.alignment.domains``
    opposes: str = ""  # a kept source of the same head that this one pulls against (``contradictions``)
    meets_head: bool = False  # it trains the target's own head, because they have labels in common

    @property
    def utility(self) -> float:
        """The value, as far as the source's own rows bear its gradient out and its texts are like the target's."""
        return self.value * self.factor

    @property
    def factor(self) -> float:
        """√source_reliability · domain_similarity: of the source alone, the same for value and interval."""
        return math.sqrt(self.source_reliability) * self.domain_similarity

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, and the utility: numbers, and what ``opposes`` and ``meets_head`` hold."""
        return {**asdict(self), "utility": self.utility}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Score:
        """Rebuild the score from what :meth:`to_dict` returned; None becomes NaN."""
        values: dict[str, Any] = {}
        for name, value in fields.items():
            if name != "utility":
                values[name] = math.nan if value is None else value
        return cls(**values)


def score_alignment(evidence: Evidence, confidence: float = 0.95) -> Score:
    """Score one source: cos(μ_s, μ_t) of the mean gradients, with an interval of the given confidence.

    Noise lengthens a mean gradient, E‖ḡ‖² = ‖μ‖² + tr Σ/n, so the observed cosine shrinks towards zero when
    examples are few. ``moments`` therefore estimates ‖μ‖² without bias, from products of different examples.

    The interval holds every cosine ρ that the data do not reject: with A = ⟨ḡ_s, ḡ_t⟩ and R = ‖μ_s‖‖μ_t‖ the
    statistic A − ρR has mean zero at the true ρ, and ρ stays in while |A − ρR| ≤ t · se(A − ρR), the standard
    error being linearised over the examples and t having Welch–Satterthwaite degrees of freedom. (Fieller's
    construction for a ratio. At ρ = 0 the denominator drops out, so the verdict rests on A alone.)

    The value is A / (‖ḡ_s‖ · ‖μ_t‖), moved into the interval where it lies outside. The target's few examples
    are corrected for, by a factor that is the same for every source. The source's noise is not: a source
    without any signal, of random labels for instance, would have its chance cosine blown up.

    A side with a class of one part has no measurable noise: the interval is then [−1, 1], and a source of one part is
    taken to be as unsteady as one can be.

    Raises ValueError when ``confidence`` is not in (0, 1). Our own definition; ``docs/method.md``.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, found {confidence}")
    if not evidence.is_finite:
        nan = float("nan")
        return Score(nan, nan, nan, nan, nan, nan)
    target = side_moments(evidence.target_gram, evidence.cross.mean(axis=0), evidence.target_classes)
    one_class = np.zeros(len(evidence.source_gram), dtype=np.int64)
    source = side_moments(evidence.source_gram, evidence.cross.mean(axis=1), one_class)
    if target.observed <= 0.0 or source.observed <= 0.0:  # a gradient of zero points nowhere
        return Score(0.0, -1.0, 1.0, 0.0, target.reliability, 0.0)

    product = float(evidence.cross.mean())
    observed = float(np.clip(product / np.sqrt(source.observed * target.observed), -1.0, 1.0))
    shared = interaction(evidence.cross, target.strata)
    low, high = _interval(product, source, target, shared, confidence)
    value = float(np.clip(product / np.sqrt(source.observed * target.signal), low, high))
    ratio = float(np.sqrt(source.observed / target.observed))
    source_reliability = max(source.reliability, SIGNAL_FLOOR) if source.freedom else SIGNAL_FLOOR
    return Score(value, low, high, ratio, target.reliability, observed, source_reliability)


def _interval(
    product: float, source: Moments, target: Moments, shared: float, confidence: float
) -> tuple[float, float]:
    """The connected set of cosines around the estimate that the data do not reject, cut at −1 and 1.

    (A − ρR)² ≤ t²·(v₀ − 2ρv₁ + ρ²v₂) is a quadratic inequality in ρ. Its solutions are an interval or, when
    R is not significantly above zero, a half line; the other half line that Fieller's construction then
    has belongs to R < 0, which cannot be.
    """
    if source.freedom == 0 or target.freedom == 0:
        return -1.0, 1.0
    scale = np.sqrt(source.signal * target.signal)
    estimate = product / scale
    # d(A − ρ√(ST)) = dA − ρ/2·(√(T/S)·dS + √(S/T)·dT)
    by_source = source.covariance(0.5 * np.sqrt(target.signal / source.signal))
    by_target = target.covariance(0.5 * np.sqrt(source.signal / target.signal))
    at_estimate = np.array([1.0, -2.0 * estimate, estimate**2])
    variances = float(at_estimate @ by_source), float(at_estimate @ by_target)
    freedom = _welch(variances[0], source.freedom, variances[1], target.freedom)
    squared = student_quantile(0.5 + 0.5 * confidence, freedom) ** 2
    v0, v1, v2 = by_source + by_target
    v0 -= min(shared, by_source[0], by_target[0])  # both sides have counted it
    a, b, c = scale**2 - squared * v2, product * scale - squared * v1, product**2 - squared * v0
    discriminant = b * b - a * c
    if a <= 0.0 and discriminant <= 0.0:
        return -1.0, 1.0
    q = b + np.copysign(np.sqrt(max(discriminant, 0.0)), b)
    roots = sorted(
        numerator / denominator for numerator, denominator in ((q, a), (c, q)) if denominator != 0.0
    )
    if a > 0.0:
        low, high = (roots[0], roots[-1]) if roots else (estimate, estimate)
    else:  # a half line, on the estimate's side
        low, high = (roots[-1], 1.0) if estimate >= roots[-1] else (-1.0, roots[0])
    return float(np.clip(low, -1.0, 1.0)), float(np.clip(high, -1.0, 1.0))


def _welch(first: float, first_freedom: int, second: float, second_freedom: int) -> float:
    """Welch–Satterthwaite degrees of freedom of the sum of two estimated variances."""
    total = max(first, 0.0) + max(second, 0.0)
    if total <= 0.0:
        return float(first_freedom + second_freedom)
    return total**2 / (first**2 / first_freedom + second**2 / second_freedom)
