"""The training loop: one process or many, with or without Ray around it.

A training is a row of phases (:mod:`sgg_ray.training.updates`). At each step the phase's update puts a gradient into
the flat buffer, which is here clipped and given to the optimiser. The usual one, in the symbols of docs/method.md:

    ĝ_S = Σ w_s g_s          one backward pass over a batch drawn from the source mixture
    g                        one backward pass over the target batch
    g + H·v                  guidance: one more pass over the same target batch, see sgg_ray.guidance
    θ ← AdamW(g + H·v + λ_source ĝ_S)

Gradients are summed over the workers in one flat tensor, those of large models while the pass that makes them still
runs. Nothing inside a step waits for the device: losses and diagnostics stay there and are fetched every
``logging_steps`` steps.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sgg_ray.config import Config
from sgg_ray.errors import TrainingError
from sgg_ray.models import EncoderClassifier, TaskModel, TokenisedRows, graphed, kept_between_passes
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.diagnostics import Diagnostics
from sgg_ray.training.early_stopping import EarlyStopping
from sgg_ray.training.head import begin_at_names
from sgg_ray.training.parameter_layout import build_optimiser, lay_out, learning_rate_factor
from sgg_ray.training.passes import Passes
from sgg_ray.training.phases import guidance_of, phases_of
from sgg_ray.training.updates import Phase
from sgg_ray.training.weight_updates import WeightUpdates, agreed_weights

MOST_SKIPPED_IN_A_ROW = 10

Event = dict[str, float]


class Trainer:
    """Everything that changes during a training, and the step that changes it.

    Args:
        model: on its device.
        target: the target's tokenised few-shot rows.
        sources: tokenised rows by source name; empty to train on the target alone.
        weights: weight of each source in the mixture, summing to 1, or to less for a weaker mixture, or all 0: none.
        config: ``train``, ``guidance``, ``alignment`` and ``seed`` are read.
        communicator: the other workers.
        probe: sources with weights whose mixture's gradient is compared with the target's now and then
            (``source_cosine``) and not used; all of the target's head. It costs one pass at these steps.
        names: what the target's labels are called, for ``train.head: label_names``; None if that says nothing.
    """

    def __init__(
        self,
        model: TaskModel,
        target: TokenisedRows,
        sources: Mapping[str, TokenisedRows],
        weights: Mapping[str, float],
        config: Config,
        communicator: Communicator,
        probe: Mapping[str, tuple[TokenisedRows, float]] | None = None,
        names: TokenisedRows | None = None,
    ):
        self.model, self.target, self.sources = model, target, dict(sources)
        self.names = names
        self.weights = dict(weights)
        self.config, self.settings = config, config.train
        self.communicator = communicator
        heads = {model.owner(rows.head) for rows in self.sources.values()}
        self.layout = lay_out(model, target.head, heads)
        self.flat = self.layout.parameters
        self.optimiser = build_optimiser(self.layout, self.settings)
        self.step = 0
        self.guidance = guidance_of(
            config.guidance,
            self.flat,
            self.layout.private,
            self.layout.shared,
            self.settings.max_steps,
            communicator.world_size,
        )
        self.passes = Passes(model, target, self.sources, self.layout, config, communicator)
        self.diagnostics = Diagnostics(self.passes, self.layout, config, probe)
        guidance = config.guidance
        self.uses_sources = bool(self.sources) and (
            guidance.lambda_source > 0 or guidance.lambda_alignment > 0
        )
        self.phases = phases_of(config, self.passes, self.guidance, self.diagnostics, self.uses_sources)
        device = self.flat.values.device
        self.skipped = torch.zeros((), device=device)
        self.skipped_in_a_row = torch.zeros((), device=device)
        self.longest_skip = torch.zeros((), device=device)
        self.early_stopping = EarlyStopping(self.settings.early_stopping)
        self.late_updates = 0

    def run(
        self,
        on_events: Callable[[Sequence[Event]], None] = lambda events: None,
        checkpoint: Callable[["Trainer"], None] | None = None,
        updates: WeightUpdates | None = None,
        checkpoint_wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train from the current step to the last one, or until all losses have stayed below ``early_stopping``.

        Args:
            on_events: takes the events of the last ``logging_steps`` steps; called on worker 0.
            checkpoint: called on every worker every ``save_steps`` steps.
            updates: new source weights every ``alignment.refresh_interval`` steps.
            checkpoint_wanted: asked after every step on worker 0; True for a checkpoint besides those. It is after this
                step, or with several workers after the next ``logging_steps`` at the latest.

        Raises:
            TrainingError: too many steps in a row had a gradient that was not finite, or the phases do not add up to
                ``train.max_steps``.
        """
        planned = sum(phase.steps for phase in self.phases)
        if planned != self.settings.max_steps:
            # The learning rate of the last phase would fall to 0 too early, or never.
            raise TrainingError(
                f"phases: {planned} steps in all, but train.max_steps is {self.settings.max_steps}; make them equal"
            )
        with graphed(self.model.trunk(), self._records), kept_between_passes(self.model):
            self._steps(on_events, checkpoint, updates, checkpoint_wanted)

    @property
    def _records(self) -> bool:
        """Whether the backbone's passes may become CUDA graphs."""
        outside = (
            self.guidance.hvp == "exact"  # differentiates without backward()
            or self.config.model.gradient_checkpointing  # saves the random state in the middle of a pass
            or self.flat.sharded  # gathers parameters in the middle of a pass
            or self.passes.sum.stretches  # sends gradients in the middle of a pass
        )
        return self.settings.cuda_graphs and not outside

    def _steps(
        self,
        on_events: Callable[[Sequence[Event]], None],
        checkpoint: Callable[["Trainer"], None] | None,
        updates: WeightUpdates | None,
        checkpoint_wanted: Callable[[], bool],
    ) -> None:
        pending: list[tuple[int, float, dict[str, Tensor]]] = []
        wanted = False
        while not self._ended:
            started = time.perf_counter()
            self._refresh_weights(updates)
            metrics = self._step()
            pending.append((self.step, started, metrics))
            self.step += 1
            wanted = wanted or checkpoint_wanted()
            saves = checkpoint is not None and self.step % self.settings.save_steps == 0
            # Several workers learn of worker 0's wish with what they transfer anyway, all of them at the same step.
            alone = self.communicator.world_size == 1
            tells = self.step % self.settings.logging_steps == 0 or self.step == self.settings.max_steps
            # Before a checkpoint all are told: what goes on from there does not run these steps again.
            if tells or saves or (wanted and alone):
                events, wanted = self._fetch(pending, wanted)
                pending = []
                if self.communicator.rank == 0:
                    on_events(events)
                if checkpoint is not None and (saves or wanted) and not self._ended:
                    checkpoint(self)
                wanted = False

    @property
    def _ended(self) -> bool:
        """Whether this was the last step, the same on all workers.

        Only a multiple of ``logging_steps`` ends a training early: where checkpoints are made says nothing then.
        """
        told = self.step % self.settings.logging_steps == 0
        return self.step >= self.settings.max_steps or (told and self.early_stopping.reached)

    def _begin_head(self) -> None:
        """Put the target's head where its training begins."""
        if self.settings.head == "label_names" and self.names is not None:
            assert isinstance(self.model, EncoderClassifier)
            begin_at_names(self.model, self.target, self.names, self.settings.eval_batch_size)
            # Every worker has fitted the same head, to rounding: from here on they must have the same bits.
            self.flat.values.div_(self.communicator.world_size)
            self.communicator.all_reduce(self.flat.values)

    def _step(self) -> dict[str, Tensor]:
        if self.step == 0:
            self._begin_head()
        phase, step = self._phase(self.step)
        if step == 0:
            # The moments are of the last phase's gradients, which may be of another size and direction.
            self.optimiser.state.clear()
        self.model.train()
        self._set_learning_rates()
        metrics = phase.update(self.step, self.weights)
        metrics["skipped"] = self._move()
        return metrics

    def _phase(self, step: int) -> tuple[Phase, int]:
        """The phase that a step of the training belongs to, and which of the phase's steps it is."""
        for phase in self.phases[:-1]:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        return self.phases[-1], step

    def _learning_rate_factor(self, step: int) -> float:
        """Rises and falls over each phase."""
        phase, step = self._phase(step)
        return learning_rate_factor(step, phase.steps, self.settings.warmup_ratio)

    def _set_learning_rates(self) -> None:
        factor = self._learning_rate_factor(self.step)
        for group, (_, placement) in zip(self.optimiser.param_groups, self.layout.groups):
            group["lr"] = factor * (
                self.settings.head_learning_rate if placement.is_head else self.settings.learning_rate
            )

    def _move(self) -> Tensor:
        """Clip, then step, unless the gradient is not finite: then return 1, all decided on the device.

        Asking the host whether it is finite would make it wait for the device at every step.
        """
        gradient = self.flat.gradient
        norm = self.flat.norm(gradient)
        bad = (~torch.isfinite(norm)).float()
        gradient.mul_((self.settings.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        # Fused optimisers skip the whole step, moments and counters included, where this is 1.
        self.optimiser.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue]
        self.optimiser.step()
        self.skipped += bad
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * bad
        self.longest_skip = torch.maximum(self.longest_skip, self.skipped_in_a_row)
        return bad

    def _refresh_weights(self, updates: WeightUpdates | None) -> None:
        """Take new weights if they are due and have arrived; all workers take the same ones at the same step."""
        every = self.config.alignment.refresh_interval
        if not self.uses_sources or not every or self.step == 0 or self.step % every:
            return
        weights = agreed_weights(updates, list(self.sources), self.step, self.flat.values, self.communicator)
        if weights is not None:
            self.weights = weights
        else:
            self.late_updates += self.step > every  # the first refresh has nothing to collect yet

    def _fetch(
        self, pending: list[tuple[int, float, dict[str, Tensor]]], wanted: bool
    ) -> tuple[list[Event], bool]:
        """Bring the metrics of the last steps to the host in one transfer; stop after too many skipped steps.

        Returns:
            The events, and whether any worker has ``wanted`` a checkpoint.
        """
        names = [(row, name) for row, (_, _, metrics) in enumerate(pending) for name in metrics]
        values = torch.stack([pending[row][2][name].float() for row, name in names])
        shares = torch.tensor([name.endswith("loss") for _, name in names], device=values.device)
        losses = values * shares  # each worker holds its share of a loss, and the whole of everything else
        throughput = self.passes.throughput
        told = torch.tensor([*throughput.counts(), float(wanted)], device=losses.device)
        sums = torch.cat([losses, told])
        self.communicator.all_reduce(sums)
        values = torch.where(shares, sums[: len(losses)], values)
        told = sums[len(losses) :]
        *numbers, longest, tokens, passed, wishes = torch.cat(
            [values, self.longest_skip.reshape(1), told]
        ).tolist()
        finished = time.perf_counter()
        seconds = (finished - pending[0][1]) / len(pending)
        events: list[Event] = []
        for row, (step, _, _) in enumerate(pending):
            rate = self.settings.learning_rate * self._learning_rate_factor(step)
            metrics = {name: value for (at, name), value in zip(names, numbers) if at == row}
            events.append({"step": step, **metrics, "learning_rate": rate, "seconds": seconds})
            self.early_stopping.add(metrics)
        events[-1] |= throughput.measures([tokens, passed], finished - pending[0][1])
        if self._ended and self.step < self.settings.max_steps:
            events[-1]["ended_early"] = 1.0
        # All workers count alike, because they see the norm of the same sum. So all of them stop here, and none is
        # left waiting for the others.
        if longest >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"training stopped at step {self.step}: {int(longest)} steps in a row had a gradient that was not "
                "finite; lower train.learning_rate or guidance.fd_relative_change, or look for broken rows"
            )
        return events, wishes > 0
