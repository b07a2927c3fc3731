"""How far the gradient is looked at for the finite difference: the distance ε, which adapts from step to step."""

import torch
from torch import Tensor

FIRST_STEP = 0.05  # of the first difference, times the change that is wanted
MOST_CHANGE = 4.0  # factor by which the distance changes between two steps


class DifferenceStep:
    """The distance ε of a finite difference of gradients.

    Args:
        relative_change: how much the gradient shall change over the difference, as a share of ‖g‖.
        fixed: ε itself, the same in every step; None lets it adapt.
        like: a scalar whose type and device ε has.
    """

    def __init__(self, relative_change: float, fixed: float | None, like: Tensor):
        self.relative_change = relative_change
        self.adapts = fixed is None
        self.step = torch.full_like(like, FIRST_STEP * relative_change if fixed is None else fixed)

    def adapt(self, norm: Tensor, ratio: Tensor) -> None:
        """Bring ε nearer to where the gradient changes as much as it shall: ε = change·‖g‖·‖v‖/‖H·v‖.

        Neither an absolute distance nor one relative to ‖θ‖ suits full fine-tuning, adapters, and fitted and
        unfitted losses: the good ones lie two orders of magnitude apart. Half the way on a logarithmic scale, since
        one batch's curvature is noisy.

        Args:
            norm: ‖v‖.
            ratio: ‖H·v‖/‖g‖ as it was found with ε.
        """
        if not self.adapts:
            return
        # A step that was skipped, or whose gradient did not change at all, teaches nothing.
        factor = torch.nan_to_num(self.relative_change * norm / (ratio * self.step), nan=1.0, posinf=1.0)
        self.step = self.step * factor.sqrt().clamp(1 / MOST_CHANGE, MOST_CHANGE)

    def shortening(self, norm: Tensor, most: float) -> Tensor:
        """What to multiply v by, of length ``norm``, so that ‖H·v‖ is at most ``most`` times ‖g‖.

        ε says how far H·v was: ‖H·v‖/‖g‖ = change·‖v‖/ε.
        """
        expected = self.relative_change * norm / self.step
        return torch.nan_to_num(most / expected, nan=1.0).clamp(max=1.0)
