"""How steady the target's gradients were over a run, and how well they agreed with the sources'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class GradientStability:
    """Steadiness of the unregularised target gradients g_t of a run; NaN where too few steps were taken."""

    mean_cosine: float  # mean of cos(g_t, g_{t−1}); higher is steadier
    norm_variation: float  # coefficient of variation of ‖g_t‖: standard deviation / mean; lower is steadier
    steps: int  # finite norms that went into it

    def to_dict(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)


def gradient_stability(norms: Sequence[float], cosines: Sequence[float]) -> GradientStability:
    """Stability from ‖g_t‖ of every step and cos(g_t, g_{t−1}) of every pair of successive steps.

    Skipped steps have norms or cosines that are not finite; they are left out. (docs/method.md, *Metrics*.)
    """
    finite = _finite(norms)
    variation = float(np.std(finite) / np.mean(finite)) if len(finite) > 1 and np.mean(finite) > 0 else np.nan
    return GradientStability(_mean(cosines), variation, len(finite))


def directional_alignment(cosines: Sequence[float]) -> float:
    """Mean of cos(g, ĝ_S) over the steps at which it was measured; NaN when there was none."""
    return _mean(cosines)


def _finite(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _mean(values: Sequence[float]) -> float:
    finite = _finite(values)
    return float(finite.mean()) if len(finite) else float("nan")
