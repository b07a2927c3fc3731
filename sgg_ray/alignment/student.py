"""Quantiles of Student's t with fractional degrees of freedom."""

from __future__ import annotations


def student_quantile(probability: float, freedom: float) -> float:
    """The t with P(T ≤ t) = probability, for ``freedom`` degrees of freedom (taken as at least 1)."""
    # Imported here: a worker that only carries evidence about does not need SciPy.
    from scipy.special import stdtrit

    return float(stdtrit(max(freedom, 1.0), probability))
