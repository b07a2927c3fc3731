"""Sources that train one head of their own must not pull it in opposite directions (docs/method.md, *Contradictions*).

To such a head the target has nothing to say: a source and its copy with flipped labels shape the features alike, and
score alike, each by itself. Trained together they undo one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sgg_ray.alignment.noise import Noise

# A source is left out if it pulls against the kept ones by more than so many standard errors of its own noise.
ERRORS = 2.0


@dataclass(frozen=True)
class OwnHead:
    """How one source pulls a head that it shares with other sources, but not with the target."""

    head: str  # which head: sources of the same one are compared
    contrast: np.ndarray  # mean gradient [rows, width], rows in the order of the head's labels
    utility: float
    noise: Noise | None = None  # of a row of the contrast; None: taken to be zero


def contradictions(sources: Mapping[str, OwnHead]) -> dict[str, str]:
    """Sources to leave out of a mixture, each with the kept source that it pulls against most.

    Among the sources of one head, with v = max(0, utility) and cosines of their contrasts:

    1. the support of a source is Σ_j v_j·max(0, cos_j), its own included: the utility that is on its side;
    2. the one with most support is kept; m = Σ v_j·g_j/‖g_j‖ over those with cos_j > 0 to it is its side's direction;
    3. every other source of the head stays unless ⟨g, m⟩ < 0 by ERRORS standard errors. Partly flipped or unrelated
       sources do not contradict.

    Sources of equal support (to six digits; a source and its flipped copy alone have the same) are told apart by their
    utility, and then by their names: the first is kept. Where no utility is above 0, nothing is left out.
    """
    found: dict[str, str] = {}
    for head in sorted({source.head for source in sources.values()}):
        found |= _within({name: sources[name] for name in sorted(sources) if sources[name].head == head})
    return found


def _within(sources: dict[str, OwnHead]) -> dict[str, str]:
    """Contradictions among the sources of one head, which come in the order of their names."""
    names = [
        name
        for name, source in sources.items()
        if np.isfinite(source.utility) and np.linalg.norm(source.contrast) > 0.0
    ]
    weights = np.array([max(0.0, sources[name].utility) for name in names])
    if len(names) < 2 or not weights.any():
        return {}
    contrasts = np.stack([sources[name].contrast.astype(np.float64) for name in names])
    units = contrasts / np.linalg.norm(contrasts, axis=(1, 2), keepdims=True)
    cosines = np.einsum("irw,jrw->ij", units, units)
    support = np.maximum(cosines, 0.0) @ weights
    anchor = max(range(len(names)), key=lambda i: (_digits(support[i]), _digits(weights[i]), -i))
    side = np.einsum("i,irw->rw", weights * (cosines[anchor] > 0.0), units)
    opposed = [
        name
        for name, contrast in zip(names, contrasts)
        if float((contrast * side).sum()) < -ERRORS * _error(sources[name].noise, side)
    ]
    kept = [number for number, name in enumerate(names) if name not in opposed]
    return {
        name: names[min(kept, key=lambda other: weights[other] * cosines[names.index(name), other])]
        for name in opposed
    }


def _error(noise: Noise | None, side: np.ndarray) -> float:
    return float(np.sqrt(noise.variance(side))) if noise is not None else 0.0


def _digits(value: float) -> float:
    """To six digits: what differs by rounding alone is equal."""
    return float(f"{value:.5e}")
