"""How the gradients of one step become the gradient that the optimiser sees: one class a method.

A new method is a class with the signature of :class:`Update`; :func:`sgg_ray.training.phases.phases_of` says when it
is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from sgg_ray.guidance import Combination, Guidance
from sgg_ray.training.diagnostics import Diagnostics
from sgg_ray.training.passes import COMBINATION, EACH_SOURCE, SOURCES, TARGET, GradientPasses, Pair, Passes


class Update(Protocol):
    """Puts the gradient of a step, all that the optimiser shall see, into the flat buffer.

    Called on every worker at the same step, it must leave the same bits on all of them: what it computes from rows is
    summed over the workers by :class:`Passes`, and random numbers come from ``Passes.seed``.
    """

    def __call__(self, step: int, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Make the gradient.

        Args:
            step: of the training, from 0.
            weights: of the sources in the mixture, as they are now.

        Returns:
            Metrics of the step, scalars on the device. Those whose name ends with ``loss`` are this worker's share.
        """
        ...


@runtime_checkable
class StatefulUpdate(Update, Protocol):
    """An update that remembers something from step to step, which then belongs into checkpoints."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that it remembers, the same on all workers."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        ...


@dataclass(frozen=True)
class Phase:
    """A stretch of steps with one update. Optimiser state and learning rate begin anew with each phase."""

    update: Update
    steps: int


class SourcesAlone:
    """ĝ_S: the mixture of the sources, without the target."""

    def __init__(self, passes: Passes):
        self.passes = passes

    def __call__(self, step: int, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Put ĝ_S into the buffer."""
        pairs = self.passes.source_batch(step, weights)
        size = self.passes.settings.source_batch_size
        return {"source_loss": self.passes.backward(pairs, size, step, SOURCES)}


class GuidedTarget:
    """g + H·v: the part that all updates with the target have in common.

    Args:
        passes: of the training.
        guidance: its terms.
        diagnostics: what looks at g before guidance changes it, if anything does.
    """

    def __init__(self, passes: GradientPasses, guidance: Guidance, diagnostics: Diagnostics | None):
        self.passes, self.guidance, self.diagnostics = passes, guidance, diagnostics

    def put(self, step: int, mixture: Tensor | None) -> dict[str, Tensor]:
        """Put g + H·v into the buffer, given ĝ_S [P] or None."""
        if self.diagnostics is not None:
            self.diagnostics.before_target(step)
        pairs = self.passes.target_batch(step)
        metrics = {"loss": self.passes.backward(pairs, len(pairs), step, TARGET)}
        if self.diagnostics is not None:
            metrics |= self.diagnostics.of_target(step, self.guidance.reference, mixture)
        # Only after a forward difference is the buffer complete with the backward pass, and may be sent while that
        # runs: the other ways to H·v make more of the gradient afterwards, or none by it.
        complete = self.guidance.hvp == "finite_difference"
        return metrics | self.guidance.apply(
            step,
            lambda: self.passes.losses(pairs, len(pairs), step, TARGET, complete),
            mixture,
            self.passes.sum.all_reduce,
        )


class GuidedSum:
    """g + H·v + λ_source ĝ_S, or without a mixture g + H·v.

    Args:
        target: makes g + H·v.
        lambda_source: λ_source.
        mixture: [P] a buffer for ĝ_S; None to leave the sources out.
    """

    def __init__(self, target: GuidedTarget, lambda_source: float = 0.0, mixture: Tensor | None = None):
        self.target, self.passes = target, target.passes
        self.lambda_source, self.mixture = lambda_source, mixture

    def __call__(self, step: int, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Put the sum into the buffer."""
        if self.mixture is None:
            return self.target.put(step, None)
        # The sources first: ĝ_S is needed for g's alignment term, and both are made in the same buffer.
        pairs = self.passes.source_batch(step, weights)
        metrics = {"source_loss": self.passes.backward(pairs, len(pairs), step, SOURCES)}
        self.mixture.copy_(self.passes.flat.gradient)
        metrics |= self.target.put(step, self.mixture)
        if self.lambda_source > 0:
            alpha = self.lambda_source * mixture_strength(weights)
            self.passes.flat.gradient.add_(self.mixture, alpha=alpha)
        return metrics


class Combined:
    """A method of multi-task learning over the rows g + H·v and λ_source S w_s g_s of the S sources in the batch.

    Args:
        target: makes g + H·v.
        combination: of the rows.
        lambda_source: λ_source.
    """

    def __init__(self, target: GuidedTarget, combination: Combination, lambda_source: float):
        assert isinstance(target.passes, Passes)
        self.target, self.passes = target, target.passes
        self.combination, self.lambda_source = combination, lambda_source

    def __call__(self, step: int, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Put the combination into the buffer."""
        rows, mixture, loss = self.rows(self.passes.source_batch(step, weights), step, weights)
        metrics = {"source_loss": loss} | self.target.put(step, mixture)
        rows[0] = self.passes.flat.gradient
        # Some methods project in a random order, which has to be the same on all workers.
        seed = self.passes.seed(step, COMBINATION)
        self.passes.flat.gradient.copy_(self.combination(rows, seed, self.passes.flat.sum_shards))
        return metrics

    def rows(
        self, pairs: Sequence[Pair], step: int, weights: Mapping[str, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(gradients [1 + S, P] of the batch's sources below a free row for the target's, ĝ_S [P], the mixture's loss).

        A source's row is λ_source·S·w_s·g_s: with equal weights and λ_source = 1 its own gradient.
        """
        parts: dict[int, list[Pair]] = {}
        for pair in pairs:
            parts.setdefault(id(pair[0]), []).append(pair)
        flat = self.passes.flat
        rows = torch.empty(1 + len(parts), flat.size, device=flat.device)
        loss = torch.zeros((), device=flat.device)
        for number, part in enumerate(parts.values(), start=1):
            # Divided by the rows of all sources: the share of the batch is the source's weight.
            loss += self.passes.backward(part, len(pairs), step, EACH_SOURCE + number)
            rows[number] = flat.gradient
        mixture = rows[1:].sum(0)
        rows[1:] *= self.lambda_source * mixture_strength(weights) * len(parts)
        return rows, mixture, loss


def mixture_strength(weights: Mapping[str, float]) -> float:
    """What the weights add up to, and 1 but for rounding unless they follow the evidence (``weighting: evidence``)."""
    total = sum(weights.values())
    return total if total < 0.999 else 1.0


def update_states(phases: Sequence[Phase]) -> dict[str, Tensor]:
    """What the updates of the phases remember, for a checkpoint."""
    return {
        f"update.{number}.{name}": value
        for number, phase in enumerate(phases)
        if isinstance(phase.update, StatefulUpdate)
        for name, value in phase.update.state_dict().items()
    }


def load_update_states(phases: Sequence[Phase], stored: Mapping[str, Tensor]) -> None:
    """Let the updates go on from what :func:`update_states` returned.

    Args:
        stored: it, among whatever else a checkpoint holds.
    """
    for number, phase in enumerate(phases):
        prefix = f"update.{number}."
        own = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
        if own and isinstance(phase.update, StatefulUpdate):
            phase.update.load_state_dict(own)
