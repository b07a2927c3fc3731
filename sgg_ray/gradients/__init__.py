"""Pure torch: the flat parameter buffer, Hessian-vector products, sketches and gradient summaries."""

from sgg_ray.gradients.flat import FlatParameters
from sgg_ray.gradients.hvp import (
    Direction,
    Workspace,
    add_hvp_central,
    add_hvp_exact,
    add_hvp_forward,
)
from sgg_ray.gradients.kernels import Weights, combine, gram, track
from sgg_ray.gradients.sharded import ShardedParameters
from sgg_ray.gradients.sketch import Sketcher
from sgg_ray.gradients.summary import GradientSummary, Summariser

__all__ = [
    "Direction",
    "FlatParameters",
    "GradientSummary",
    "ShardedParameters",
    "Sketcher",
    "Summariser",
    "Weights",
    "Workspace",
    "add_hvp_central",
    "add_hvp_exact",
    "add_hvp_forward",
    "combine",
    "gram",
    "track",
]
