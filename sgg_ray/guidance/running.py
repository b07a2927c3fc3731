"""What guidance remembers between steps: the reference direction, and how long gradients usually are.

Abnormal steps must not take it over: a gradient that is not finite never enters, the reference is a mean of *unit*
gradients, and one norm counts for at most ``MOST_OF_MEAN`` times the mean so far.
"""

import torch
from torch import Tensor

HISTORY = 101  # steps whose median is the threshold τ
MOST_OF_MEAN = 10.0


class RunningNorms:
    """Means of ‖g‖ over all and over the shared parameters, and the median of the former; on the device.

    Args:
        device: of the gradient.
        with_median: keep the last norms for their median.
    """

    def __init__(self, device: torch.device, with_median: bool):
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.means = torch.zeros(2, dtype=torch.float64, device=device)
        length = HISTORY if with_median else 1
        self.recent = torch.full((length,), torch.inf, dtype=torch.float64, device=device)

    def add(self, norms: Tensor) -> None:
        """Update the running values with one step's norms [2]; norms that are not finite are ignored."""
        finite = torch.isfinite(norms[0])
        self.count += finite
        limits = torch.where(self.means > 0, MOST_OF_MEAN * self.means, norms)
        change = (torch.minimum(norms, limits) - self.means) / self.count.clamp(min=1)
        self.means = torch.where(finite, self.means + change, self.means)
        if len(self.recent) > 1:
            self.recent = torch.where(finite, torch.cat([norms[:1], self.recent[:-1]]), self.recent)

    @property
    def median(self) -> Tensor:
        """Median of the last norms (the lower one of two); inf before the first, or if it is not kept."""
        if len(self.recent) == 1:
            return self.recent[0]
        middle = ((self.count.clamp(1, HISTORY) - 1) / 2).to(torch.int64)
        return self.recent.sort().values.index_select(0, middle.reshape(1))[0]

    def state_dict(self) -> dict[str, Tensor]:
        """State to store in a checkpoint."""
        return {"count": self.count, "means": self.means, "recent": self.recent}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from :meth:`state_dict`."""
        for name, value in self.state_dict().items():
            setattr(self, name, state[name].to(value.device, copy=True))


def momentum(norm: Tensor, floor: Tensor, decay: float) -> Tensor:
    """[2] (keep, gain) of the reference's update r ← decay·r + (1 − decay)·g/max(‖g‖, δ).

    (1, 0) where g is zero or not finite. Gradients shorter than δ, mostly noise of a fitted loss, count for less.
    """
    usable = torch.isfinite(norm) & (norm > 0)
    gain = torch.where(usable, (1 - decay) / torch.maximum(norm, floor), 0.0)
    return torch.stack([1 - (1 - decay) * usable.to(norm.dtype), gain])
