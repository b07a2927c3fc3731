"""Mixture weights of the sources, from their alignment scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from sgg_ray.alignment.alignment_score import Score


def _uniform(utilities: np.ndarray) -> np.ndarray:
    return np.ones_like(utilities)


def _relu(utilities: np.ndarray) -> np.ndarray:
    return np.maximum(utilities, 0.0)


def _none(utilities: np.ndarray) -> np.ndarray:
    return np.zeros_like(utilities)


NO_UTILITY, FULL_UTILITY = 0.02, 0.1  # sums of utilities between which the mixture's strength rises

_RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uniform": _uniform,
    "relu": _relu,
    "evidence": _relu,
    "none": _none,
    "exp3": _uniform,
    "ucb1": _uniform,
}
_ASK_NO_SCORE = ("uniform", "exp3", "ucb1")
WEIGHTINGS = tuple(_RULES)


def mixture_weights(scores: Sequence[Score | None], weighting: str = "relu") -> np.ndarray:
    """Weights [S] ≥ 0 that add up to 1, or are all 0 when no source is usable.

    Under ``evidence`` they add up to the strength of the whole mixture, see :func:`mixture_strength`.

    ``uniform``   the same weight for every source;
    ``relu``      in proportion to max(0, utility);
    ``evidence``  as ``relu``, times the strength of the whole mixture;
    ``none``      0 for every source (scores are reported but the mixture is left out);
    ``exp3``, ``ucb1``  the same weight for every source that a bandit may choose (:mod:`sgg_ray.alignment.bandit`).

    A source without a score, or whose score is not finite, has weight 0 under every rule. One that pulls against a
    kept source at their common head (``Score.opposes``) has weight 0 under every rule but ``uniform`` and the bandits,
    which ask for no score.

    Raises:
        ValueError: an unknown weighting.
    """
    if weighting not in _RULES:
        raise ValueError(f"unknown weighting {weighting!r}; choose one of {', '.join(WEIGHTINGS)}")
    taken = [score if _is_usable(score, weighting) else None for score in scores]
    usable = np.array([score is not None for score in taken], dtype=bool)
    weights = np.zeros(len(scores))
    kept = [score for score in taken if score is not None]
    weights[usable] = _RULES[weighting](np.array([score.utility for score in kept]))
    total = weights.sum()
    strength = mixture_strength(kept) if weighting == "evidence" else 1.0
    return weights / total * strength if total > 0.0 else np.zeros(len(scores))


def mixture_strength(scores: Sequence[Score]) -> float:
    """How strongly the mixture of these sources is to be trained with, in [0, 1]; 0 without a source that helps.

    Shares of a mixture say which sources to take, not how much of them. A sum of positive utilities of 0.1 or more is
    a full mixture, one of 0.02 or less none, and its logarithm decides in between. A source that trains the target's
    own head counts in full as soon as its utility is above 0: where shots say little all utilities are small, and such
    sources help most (studies/log.md, which also has the tasks that the two bounds were found on).
    """
    helpful = [score for score in scores if score.utility > 0.0]
    if any(score.meets_head for score in helpful):
        return 1.0
    total = sum(score.utility for score in helpful)
    if total <= NO_UTILITY:
        return 0.0
    return min(1.0, math.log(total / NO_UTILITY) / math.log(FULL_UTILITY / NO_UTILITY))


def _is_usable(score: Score | None, weighting: str) -> bool:
    if score is None or not all(map(math.isfinite, (score.value, score.low, score.high))):
        return False
    return weighting in _ASK_NO_SCORE or not score.opposes
