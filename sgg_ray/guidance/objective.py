"""Guidance: turns the target's gradient g into g + H·v, the gradient of the guided objective.

    L + λ_direction·(1 − cos(g, r)) + λ_magnitude·‖g‖ + λ_alignment·(1 − cos(g, ĝ_S))

All regularisers are functions of g alone, so one Hessian-vector product serves all of them; docs/method.md
derives it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from sgg_ray.errors import ConfigError, ModelError
from sgg_ray.gradients import FlatParameters
from sgg_ray.gradients.hvp import (
    Direction,
    Losses,
    Reduce,
    Workspace,
    add_hvp_central,
    add_hvp_exact,
    add_hvp_forward,
)
from sgg_ray.gradients.kernels import combine, gram
from sgg_ray.guidance.difference_step import DifferenceStep
from sgg_ray.guidance.running import RunningNorms, momentum
from sgg_ray.guidance.terms import (
    Measures,
    Scales,
    Strengths,
    blend,
    coefficients,
    combined_norm,
    penalty,
)

Mode = Literal["finite_difference", "central_difference", "exact", "first_order"]
MODES = ("finite_difference", "central_difference", "exact", "first_order")
SAMPLE = 1 << 17  # coordinates per segment from which ‖H·v‖/‖g‖ is estimated
DEFAULT_FD_RELATIVE_CHANGE = 0.2


class Guidance:
    """The regularisers of one training, and their memory.

    The flat vector lies as [private: only the target's | shared with a source | used by sources alone]. The
    alignment term compares the shared parameters, the other terms private and shared ones.

    Args:
        parameters: the model's.
        lambda_direction: λ of 1 − cos(g, r).
        lambda_magnitude: λ of ‖g‖.
        lambda_alignment: λ of 1 − cos(g, ĝ_S).
        hvp: how H·v is computed.
        fd_relative_change: how much the gradient shall change over the finite difference, ‖∇L(θ + εv/‖v‖) − g‖ as a
            share of ‖g‖. The distance ε adapts to it from step to step. Too small, and the difference drowns in the
            rounding of bfloat16; too large, and it is no derivative any more. docs/performance.md has the measurements.
        fd_step: ε itself instead, the same in every step. With ``lambda_magnitude`` alone, equal to ε, and no floor,
            the forward difference is the gradient at θ + ε g/‖g‖: sharpness-aware minimisation.
        max_hvp_ratio: most ‖H·v‖ as a share of ‖g‖, times ``interval``; longer products are shortened, by the
            curvature that was found in the steps before. Below 1 the step still descends the loss. None: as long as
            they come.
        interval: apply the regularisers every n-th step, n times as strongly.
        warmup_steps: λ rises linearly over so many steps.
        reference_decay: of r, the moving average of the unit gradients of guided steps.
        gradient_floor: δ as a share of the mean of ‖g‖ so far.
        private: where the private parameters lie, beginning at 0.
        shared: where the shared ones lie, directly after; empty without sources.
        world_size: number of data-parallel workers.

    Raises:
        ConfigError: an argument is out of its range; all of them at once.
    """

    def __init__(
        self,
        parameters: FlatParameters,
        *,
        lambda_direction: float = 0.0,
        lambda_magnitude: float = 0.0,
        lambda_alignment: float = 0.0,
        hvp: Mode = "finite_difference",
        fd_relative_change: float = DEFAULT_FD_RELATIVE_CHANGE,
        fd_step: float | None = None,
        max_hvp_ratio: float | None = None,
        interval: int = 1,
        warmup_steps: int = 0,
        reference_decay: float = 0.9,
        gradient_floor: float = 0.1,
        private: slice,
        shared: slice,
        world_size: int = 1,
    ):
        self.parameters = parameters
        self.lambda_direction, self.lambda_magnitude = lambda_direction, lambda_magnitude
        self.lambda_alignment = lambda_alignment
        self.hvp, self.interval, self.warmup_steps = hvp, interval, warmup_steps
        self.reference_decay = reference_decay
        self.gradient_floor, self.max_hvp_ratio = gradient_floor, max_hvp_ratio
        self.private, self.shared, self.world_size = private, shared, world_size
        self._check(fd_relative_change, fd_step)
        self.size = shared.stop
        needs_median = lambda_magnitude > 0 and hvp == "first_order"
        self.norms = RunningNorms(parameters.device, needs_median)
        self.difference = DifferenceStep(fd_relative_change, fd_step, self.norms.count)
        self.reference = torch.zeros_like(parameters.values[: self.size]) if lambda_direction > 0 else None
        self._pair = torch.tensor(
            [lambda_direction, lambda_alignment], dtype=torch.float64, device=parameters.device
        )
        self._workspace: Workspace | None = None

    def apply(
        self, step: int, losses: Losses, source_gradient: Tensor | None, reduce: Reduce
    ) -> dict[str, Tensor]:
        """Add H·v to the gradient in ``parameters.gradient``; with ``first_order``, blend the directions
        instead.

        With every λ at 0 the gradient is not touched and ``losses`` is not called. A gradient that is not
        finite stays so, for the loop to skip the step; parameters, reference and running norms keep their
        values.

        Args:
            step: number of the step, from 0.
            losses: yields the losses of this worker's micro-batches once more, under the same random state;
                their sum over micro-batches and workers is the loss whose gradient, summed over the workers,
                is in ``parameters.gradient``. Called once or twice if a second pass is due at this step.
            source_gradient: ĝ_S [P] of the source mixture, or None.
            reduce: sums a tensor over the workers in place.

        Returns:
            Scalars on the device: ``gradient_norm`` ‖g‖; ``penalty`` Σ λ φ; if there is a reference
            ``direction_cosine`` cos(g, r); if there is a source gradient ``alignment_cosine`` cos(g, ĝ_S) on
            the shared parameters; at a step with a second pass ``hvp_ratio`` ‖H·v‖/‖g‖. Cosines with a zero
            vector are nan.
        """
        measures = self._measure(source_gradient)
        scales = Scales(self.gradient_floor * self.norms.means, self.norms.median)
        warmth = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        strengths = Strengths(self._pair, self.lambda_magnitude, warmth)
        metrics = {
            "gradient_norm": measures.norms[0],
            "penalty": penalty(measures, strengths),
        }
        if self.reference is not None:
            metrics["direction_cosine"] = measures.cosines[0]
        if source_gradient is not None:
            metrics["alignment_cosine"] = measures.cosines[1]
        if step % self.interval == self.interval - 1 and (
            self.lambda_direction or self.lambda_magnitude or self.lambda_alignment
        ):
            strengths = replace(strengths, factor=warmth * self.interval)
            metrics |= self._guide(measures, strengths, scales, source_gradient, losses, reduce)
        self.norms.add(measures.norms)
        return metrics

    def state_dict(self) -> dict[str, Tensor]:
        """What has to be kept for the training to go on as if it had not stopped: tensors by name, not
        copies."""
        state = {f"norms.{name}": value for name, value in self.norms.state_dict().items()}
        state["fd_step"] = self.difference.step
        if self.reference is not None:
            state["reference"] = self.reference
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            ModelError: the state belongs to other trainable parameters or another configuration.
        """
        expected = {name: value.shape for name, value in self.state_dict().items()}
        found = {name: value.shape for name, value in state.items()}
        if expected != found:
            wrong = next(name for name in sorted(expected | found) if expected.get(name) != found.get(name))
            raise ModelError(
                f"checkpoint: guidance state {wrong!r} has shape {_shape(found.get(wrong))}, this training "
                f"needs {_shape(expected.get(wrong))}; resume with the configuration that wrote it"
            )
        self.norms.load_state_dict(
            {name.removeprefix("norms."): value for name, value in state.items() if name.startswith("norms.")}
        )
        self.difference.step = state["fd_step"].to(self.difference.step.device, copy=True)
        if self.reference is not None:
            self.reference.copy_(state["reference"])

    def _measure(self, source: Tensor | None) -> Measures:
        grams = [
            gram(
                self.parameters.gradient[where],
                None if self.reference is None else self.reference[where],
                # the private parameters take no part in the alignment term
                source[where] if source is not None and where is self.shared else None,
            )
            for where in (self.private, self.shared)
        ]
        return Measures.of(self.parameters.sum_shards(torch.stack(grams)))

    def _guide(
        self,
        measures: Measures,
        strengths: Strengths,
        scales: Scales,
        source: Tensor | None,
        losses: Losses,
        reduce: Reduce,
    ) -> dict[str, Tensor]:
        """Apply the regularisers; returns ‖H·v‖/‖g‖, which first_order does not have."""
        first_order = self.hvp == "first_order"
        found = (blend if first_order else coefficients)(measures, strengths, scales)
        norm = combined_norm(measures, found)
        if self.max_hvp_ratio is not None:
            factor = self.difference.shortening(norm, self.max_hvp_ratio * self.interval)
            found, norm = found * factor, norm * factor
        direction = Direction(
            segments=(self.private, self.shared),
            coefficients=found,
            reference=self.reference,
            source=source,
            norm=norm,
            momentum=None
            if self.reference is None
            else momentum(measures.norms[0], scales.floors[0], self.reference_decay),
        )
        if first_order:
            self._blend(direction)
            return {}
        before = self._sample()
        self._add_hvp(direction, losses, reduce)
        norm = self.parameters.norm
        ratio = (norm(self._sample() - before) / norm(before)).double()
        self.difference.adapt(direction.norm, ratio)
        return {"hvp_ratio": ratio}

    def _add_hvp(self, direction: Direction, losses: Losses, reduce: Reduce) -> None:
        if self._workspace is None:
            self._workspace = Workspace(self.parameters, self.size)
        arguments = (self.parameters, direction, losses, reduce, self._workspace)
        if self.hvp == "exact":
            add_hvp_exact(*arguments, self.world_size)
        elif self.hvp == "central_difference":
            add_hvp_central(*arguments, self.difference.step, self.world_size)
        else:
            add_hvp_forward(*arguments, self.difference.step, self.world_size)

    def _blend(self, direction: Direction) -> None:
        one = torch.ones_like(direction.norm)
        for where, weights in zip(direction.segments, direction.weights(one, one)):
            combine(
                self.parameters.gradient[where],
                None if direction.reference is None else direction.reference[where],
                None if direction.source is None else direction.source[where],
                weights,
                track=direction.momentum is not None,
            )

    def _sample(self) -> Tensor:
        """Some values of the gradient, weighted so that norms are about those of the whole."""
        parts = []
        for where in (self.private, self.shared):
            part = self.parameters.gradient[where]
            stride = len(part) // SAMPLE | 1  # odd: even strides follow the columns of matrices
            parts.append(part[::stride] * stride**0.5)
        return torch.cat(parts)

    def _check(self, change: float, step: float | None) -> None:
        ratio = self.max_hvp_ratio
        problems = [
            f"guidance.{name}: must be {rule}, found {value}"
            for name, value, rule, fine in (
                ("lambda_direction", self.lambda_direction, ">= 0", self.lambda_direction >= 0),
                ("lambda_magnitude", self.lambda_magnitude, ">= 0", self.lambda_magnitude >= 0),
                ("lambda_alignment", self.lambda_alignment, ">= 0", self.lambda_alignment >= 0),
                ("hvp", self.hvp, f"one of {', '.join(MODES)}", self.hvp in MODES),
                ("fd_relative_change", change, "> 0", change > 0),
                ("fd_step", step, "> 0", step is None or step > 0),
                ("max_hvp_ratio", ratio, "> 0", ratio is None or ratio > 0),
                ("interval", self.interval, ">= 1", self.interval >= 1),
                ("reference_decay", self.reference_decay, "in [0, 1)", 0 <= self.reference_decay < 1),
                ("gradient_floor", self.gradient_floor, ">= 0", self.gradient_floor >= 0),
            )
            if not fine
        ]
        if self.private.start != 0 or self.shared.start != self.private.stop:
            problems.append(
                f"guidance: found private {self.private} and shared {self.shared} parameters; lay the flat "
                "buffer out as [private from 0 | shared directly after | used by sources alone]"
            )
        if problems:
            raise ConfigError(problems)


def _shape(shape: torch.Size | None) -> str:
    return "nothing" if shape is None else str(list(shape))
