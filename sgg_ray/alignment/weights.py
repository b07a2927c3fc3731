"""Mixture weights of the sources, from their alignment scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from sgg_ray.alignment.alignment_score import Score


def _uniform(values: np.ndarray, lows: np.ndarray, temperature: float) -> np.ndarray:
    return np.ones_like(values)


def _relu(values: np.ndarray, lows: np.ndarray, temperature: float) -> np.ndarray:
    return np.maximum(values, 0.0)


def _softmax(values: np.ndarray, lows: np.ndarray, temperature: float) -> np.ndarray:
    return np.exp((values - values.max(initial=-np.inf)) / temperature)


def _confident(values: np.ndarray, lows: np.ndarray, temperature: float) -> np.ndarray:
    return np.maximum(lows, 0.0)


def _none(values: np.ndarray, lows: np.ndarray, temperature: float) -> np.ndarray:
    return np.zeros_like(values)


_RULES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "uniform": _uniform,
    "relu": _relu,
    "softmax": _softmax,
    "confident": _confident,
    "none": _none,
}
WEIGHTINGS = tuple(_RULES)


def mixture_weights(
    scores: Sequence[Score | None], weighting: str = "relu", temperature: float = 0.1
) -> np.ndarray:
    """Weights [S] ≥ 0 that add up to 1, or are all 0 when no source is usable.

    ``uniform``    the same weight for every source;
    ``relu``       in proportion to max(0, worth);
    ``softmax``    in proportion to exp(worth / temperature): conflicting sources keep a little weight;
    ``confident``  in proportion to max(0, low) times what the worth is of the value: only sources with the verdict
                   *use* take part, and poorly measured ones count less;
    ``none``       0 for every source (scores are reported but the mixture is left out).

    A source without a score, or whose score is not finite, has weight 0 under every rule. One that pulls against a
    kept source at their common head (``Score.opposes``) has weight 0 under every rule but ``uniform``, which asks for
    no score.
    Raises ValueError for an unknown weighting or a temperature that is not above 0.
    """
    if weighting not in _RULES:
        raise ValueError(f"unknown weighting {weighting!r}; choose one of {', '.join(WEIGHTINGS)}")
    if not temperature > 0.0:
        raise ValueError(f"temperature must be > 0, found {temperature}")
    taken = [score if _is_usable(score, weighting) else None for score in scores]
    usable = np.array([score is not None for score in taken], dtype=bool)
    weights = np.zeros(len(scores))
    kept = [score for score in taken if score is not None]
    values = np.array([score.utility for score in kept])
    lows = np.array([score.low * score.factor for score in kept])
    weights[usable] = _RULES[weighting](values, lows, temperature)
    total = weights.sum()
    return weights / total if total > 0.0 else np.zeros(len(scores))


def _is_usable(score: Score | None, weighting: str) -> bool:
    if score is None or not all(map(math.isfinite, (score.value, score.low, score.high))):
        return False
    return weighting == "uniform" or not score.opposes
