"""Guidance in a PyTorch loop of your own: an optimiser around an optimiser, with closures."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sgg_ray.errors import ConfigError
from sgg_ray.integrations.guided_gradient import GuidedGradient, LossFunction, checked_terms
from sgg_ray.training.communicator import Distributed, SingleProcess

Losses = LossFunction | Sequence[LossFunction]


class GuidedOptimizer:
    """Gives another optimiser the gradient of the guided objective (docs/method.md) instead of the loss's.

    Like ``torch.optim.LBFGS``, it is given closures, as it needs a loss more than once; unlike there, a closure only
    returns the loss, with its graph, and leaves ``backward`` and ``zero_grad`` alone. Dropout masks repeat.

    In a process group the gradients are averaged over the workers: give each its own rows, and the bare module, not
    ``DistributedDataParallel``. Use autocast inside the closure; a ``GradScaler`` has no place here.

    Args:
        optimizer: of any kind. Its trainable parameters move into one flat float32 buffer, so load half-precision
            models in float32. Learning-rate schedulers belong to it.
        max_steps: of the whole training, over ``warmup_ratio`` of which every λ rises from 0.
        with_sources: whether :meth:`step` gets losses of a source mixture.
        terms: keys of the section ``guidance`` in docs/configuration.md, such as ``lambda_direction=0.1``.

    Raises:
        ConfigError: a term is unknown or out of its range.
        ModelError: nothing is trainable.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        max_steps: int,
        with_sources: bool = False,
        max_grad_norm: float | None = None,
        **terms: Any,
    ):
        settings = checked_terms(terms)
        parameters = [value for group in optimizer.param_groups for value in group["params"]]
        named = [(str(number), value) for number, value in enumerate(parameters) if value.requires_grad]
        distributed = dist.is_available() and dist.is_initialized()
        communicator = Distributed() if distributed else SingleProcess()
        self.optimizer, self.max_grad_norm, self.with_sources = optimizer, max_grad_norm, with_sources
        self.gradient = GuidedGradient(named, settings, max_steps, with_sources, communicator)
        self.steps = 0

    def step(self, closure: Losses, source: Losses = ()) -> dict[str, Tensor]:
        """One step of the inner optimiser; none of it where the gradient is not finite.

        Args:
            closure: returns the mean loss of the target's batch; or several closures, one a micro-batch, whose losses
                add up to it.
            source: the same for a batch drawn from the sources.

        Returns:
            Scalars: ``loss``, with sources ``source_loss``, ``gradient_norm``, ``penalty``, cosines and ``hvp_ratio``.

        Raises:
            ConfigError: sources are missing, or were not announced.
            TrainingError: too many steps in a row had a gradient that was not finite.
        """
        sources = _several(source)
        if bool(sources) != self.with_sources:
            state = "missing" if self.with_sources else "given"
            raise ConfigError(f"step: source is {state}, but with_sources is {self.with_sources}")
        metrics = self.gradient.put(self.steps, _several(closure), sources)
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.gradient.flat.parameters, self.max_grad_norm)
        self.optimizer.step()
        self.steps += 1
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, guidance and step number. Parameters are the model's."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "guidance": self.gradient.guidance.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            ModelError: it belongs to other parameters or terms.
        """
        self.gradient.guidance.load_state_dict(state["guidance"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


def _several(losses: Losses) -> Sequence[LossFunction]:
    return [losses] if isinstance(losses, Callable) else losses
