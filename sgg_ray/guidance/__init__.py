"""Pure torch: the three regularisers on the target's gradient, and the objective that they make."""

from sgg_ray.guidance.combine import Combination, check_combination
from sgg_ray.guidance.objective import DEFAULT_FD_RELATIVE_CHANGE, Guidance
from sgg_ray.guidance.terms import Measures, Scales, Strengths, blend, coefficients, penalty

__all__ = [
    "DEFAULT_FD_RELATIVE_CHANGE",
    "Combination",
    "Guidance",
    "Measures",
    "Scales",
    "Strengths",
    "blend",
    "check_combination",
    "coefficients",
    "penalty",
]
