"""How the gradients of several tasks make one update, by TorchJD's weightings of their Gram matrix.

All of these methods give a combination Σ a_t g_t of the gradients whose coefficients follow from inner products alone.
Only the small Gram matrix therefore leaves the device; it is the one wait for the device in a step, and only in these
modes.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from sgg_ray.errors import ConfigError

CAGRAD_RADIUS = 0.5  # c of Liu et al. (2021), their choice for classification


def check_combination(method: str) -> None:
    """See whether the packages are there that ``method`` needs.

    Raises:
        ConfigError: naming what to install.
    """
    needed = {"cagrad": ["torchjd", "cvxpy"], "upgrad": ["torchjd", "qpsolvers", "quadprog"]}
    missing = [name for name in needed.get(method, ["torchjd"]) if find_spec(name) is None]
    if missing and method != "sum":
        raise ConfigError(
            f"train.combine: '{method}' needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            "python -m pip install 'sgg-ray[compare]'"
        )


class Combination:
    """Combines the rows of a matrix of gradients.

    Args:
        method: ``pcgrad`` (Yu et al. 2020), ``cagrad`` (Liu et al. 2021), ``upgrad`` (Quinton and Rey 2024) or ``mgda``
            (Désidéri 2012).
    """

    def __init__(self, method: str):
        check_combination(method)
        from torchjd import aggregation

        weightings: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
            "pcgrad": aggregation.PCGradWeighting,
            "cagrad": lambda: aggregation.CAGradWeighting(c=CAGRAD_RADIUS),
            "upgrad": aggregation.UPGradWeighting,
            "mgda": aggregation.MGDAWeighting,
        }
        self.weighting = weightings[method]()

    def __call__(
        self, rows: Tensor, seed: int, sum_shards: Callable[[Tensor], Tensor] = lambda partial: partial
    ) -> Tensor:
        """Σ a_t g_t [P] of gradients ``rows`` [T, P], each row that of one task.

        Args:
            sum_shards: makes the inner products of whole gradients of those of the shards in ``rows``.
            seed: of the order in which PCGrad projects; the same on every worker. The global random state is set.
        """
        gram = sum_shards(rows @ rows.T).double().cpu()
        if not torch.isfinite(gram).all():
            return rows.sum(0)  # not finite either: the loop skips the step
        torch.manual_seed(seed)
        scale = gram.diagonal().mean().clamp(min=1e-30)  # solvers have absolute tolerances
        weights = self.weighting(gram / scale)
        return weights.to(rows.device, rows.dtype) @ rows
