"""The training loop: one process or many, with or without Ray around it.

One step, in the symbols of docs/method.md:

    ĝ_S = Σ w_s g_s          one backward pass over a batch drawn from the source mixture
    g                        one backward pass over the target batch
    g + H·v                  guidance: one more pass over the same target batch, see sgg_ray.guidance
    θ ← AdamW(g + H·v + λ_source ĝ_S)

``train.combine`` replaces the last sum by another combination of target and source gradients, and ``train.schedule:
sequential`` gives the first half of the steps to the sources alone and the second to the target alone.

A training may have two phases, each with its own optimiser and rise and fall of the learning rate: the halves of a
sequential schedule, or ``train.contrastive`` steps on pairs and then those on labels.

Gradients are summed over the workers in one flat tensor, those of large models while the pass that makes them still
runs. Nothing inside a step waits for the device: losses and diagnostics stay there and are fetched every
``logging_steps`` steps.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sgg_ray.config import Config
from sgg_ray.errors import TrainingError
from sgg_ray.gradients import Sketcher
from sgg_ray.guidance import Combination, Guidance
from sgg_ray.models import Batch, EncoderClassifier, TaskModel, TokenisedRows, graphed
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.head import begin_at_names, fit_head
from sgg_ray.training.module_view import ModuleView
from sgg_ray.training.pair_losses import pair_losses
from sgg_ray.training.parameter_layout import build_optimiser, lay_out, learning_rate_factor
from sgg_ray.training.reduction import STRETCH, GradientSum
from sgg_ray.training.sampling import by_length, shard, source_batch, target_batch

MOST_SKIPPED_IN_A_ROW = 10
PROBED_WINDOWS = (
    3  # of log_every steps have one probe: the median of the windows' times is that of a plain one
)
STABILITY_SKETCH = 65536  # cosine error about 0.004, far below the step-to-step change it measures

Event = dict[str, float]
Pair = tuple[TokenisedRows, int]


class WeightUpdates(Protocol):
    """Where new source weights come from while training runs. Called on worker 0 only; must not wait."""

    def refresh(self, step: int, values: Tensor) -> Mapping[str, float] | None:
        """Ask for scores at the parameters ``values`` [P]; return the weights asked for last time, if ready."""
        ...


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
        self.sum = GradientSum(self.flat, self.layout.backbone, communicator, STRETCH)
        self.optimiser = build_optimiser(self.layout, self.settings)
        self.step = 0
        guidance = config.guidance
        self.guidance = self._new_guidance()
        self.average: Tensor | None = None  # of the parameters after the last steps
        self.uses_sources = bool(self.sources) and (
            guidance.lambda_source > 0 or guidance.lambda_alignment > 0
        )
        self.source_gradient = torch.zeros_like(self.flat.values) if self.uses_sources else None
        self.probe = dict(probe or {})
        self.probed = torch.zeros_like(self.flat.values) if self.probe else None
        self.sequential = self.uses_sources and config.train.schedule == "sequential"
        self.contrastive_steps = round(config.train.contrastive * config.train.max_steps)
        combines = self.uses_sources and guidance.lambda_source > 0 and config.train.combine != "sum"
        self.combination = Combination(config.train.combine) if combines else None
        layout = self.layout
        self.view = ModuleView(self.flat, layout.private, layout.shared) if guidance.view_modules else None
        self.sketcher = Sketcher(STABILITY_SKETCH, config.seed)
        self.previous_sketch: Tensor | None = None
        device = self.flat.values.device
        self.skipped = torch.zeros((), device=device)
        self.skipped_in_a_row = torch.zeros((), device=device)
        self.longest_skip = torch.zeros((), device=device)
        self.late_updates = 0

    def _new_guidance(self) -> Guidance:
        guidance = self.config.guidance
        return Guidance(
            self.flat,
            **guidance.model_dump(
                exclude={"lambda_source", "warmup_ratio", "reference_every", "view_modules"}
            ),
            warmup_steps=round(guidance.warmup_ratio * self.settings.max_steps),
            private=self.layout.private,
            shared=self.layout.shared,
            world_size=self.communicator.world_size,
        )

    def run(
        self,
        on_events: Callable[[Sequence[Event]], None] = lambda events: None,
        checkpoint: Callable[["Trainer"], None] | None = None,
        updates: WeightUpdates | None = None,
    ) -> None:
        """Train from the current step to the last one.

        Args:
            on_events: takes the events of the last ``logging_steps`` steps; called on worker 0.
            checkpoint: called on every worker every ``save_steps`` steps.
            updates: new source weights every ``alignment.refresh_interval`` steps.

        Raises:
            TrainingError: too many steps in a row had a gradient that was not finite.
        """
        with graphed(self.model.trunk(), self._records):
            self._steps(on_events, checkpoint, updates)
        self._finish()

    @property
    def _records(self) -> bool:
        """Whether the backbone's passes may become CUDA graphs."""
        outside = (
            self.guidance.hvp == "exact"  # differentiates without backward()
            or self.config.model.gradient_checkpointing  # saves the random state in the middle of a pass
            or self.sum.stretches  # sends gradients in the middle of a pass
        )
        return self.settings.cuda_graphs and not outside

    def _steps(
        self,
        on_events: Callable[[Sequence[Event]], None],
        checkpoint: Callable[["Trainer"], None] | None,
        updates: WeightUpdates | None,
    ) -> None:
        pending: list[tuple[int, float, dict[str, Tensor]]] = []
        while self.step < self.settings.max_steps:
            started = time.perf_counter()
            self._refresh_weights(updates)
            metrics = self._step()
            self._add_to_average()
            pending.append((self.step, started, metrics))
            self.step += 1
            saves = checkpoint is not None and self.step % self.settings.save_steps == 0
            # Before a checkpoint all are told: what goes on from there does not run these steps again.
            if saves or self.step % self.settings.logging_steps == 0 or self.step == self.settings.max_steps:
                events = self._fetch(pending)
                pending = []
                if self.communicator.rank == 0:
                    on_events(events)
            if checkpoint is not None and saves and self.step < self.settings.max_steps:
                checkpoint(self)

    def _finish(self) -> None:
        """What is done once, after the last step."""
        if self.average is not None:
            self.flat.values.copy_(self.average)
        if self.contrastive_steps == self.settings.max_steps:
            self._begin_labels()

    def _begin_labels(self) -> None:
        """Between the training on pairs and that on labels, or before the latter."""
        if self.settings.head != "zero":
            assert isinstance(self.model, EncoderClassifier)
            size = self.settings.eval_batch_size
            if self.settings.head == "regression":
                fit_head(self.model, self.target, size)
            elif self.names is not None:
                begin_at_names(self.model, self.target, self.names, size)
            # Every worker has fitted the same head, to rounding: from here on they must have the same bits.
            self.flat.values.div_(self.communicator.world_size)
            self.communicator.all_reduce(self.flat.values)
        if self.contrastive_steps:
            # What is remembered of gradients is of those of another loss.
            self.guidance = self._new_guidance()
            self.previous_sketch = None

    def _step(self) -> dict[str, Tensor]:
        if self.step == self.contrastive_steps:
            self._begin_labels()
        self.model.train()
        self._set_learning_rates()
        metrics: dict[str, Tensor] = {}
        rows = None  # of the gradients, where they are not simply added up
        if self.sequential and self.step < self._first_target_step:
            metrics["source_loss"] = self._backward(
                self._source_pairs(), self.settings.source_batch_size, stage=1
            )
            metrics["skipped"] = self._update()
            return metrics
        self._refresh_reference()
        source_gradient = None if self.sequential else self.source_gradient
        if source_gradient is not None:
            pairs = self._source_pairs()
            if self.combination is None:
                metrics["source_loss"] = self._backward(pairs, self.settings.source_batch_size, stage=1)
                source_gradient.copy_(self.flat.gradient)
            else:
                rows, metrics["source_loss"] = self._source_rows(pairs, source_gradient)
        self._probe_sources()
        pairs = self._target_pairs(self.step)
        metrics["loss"] = self._backward(pairs, len(pairs), stage=2)
        self._stability(metrics)
        if self.probed is not None and self._looks:
            compared = slice(0, self.layout.shared.stop)
            metrics["source_cosine"] = torch.cosine_similarity(
                self.flat.gradient[compared], self.probed[compared], dim=0
            )
        if self.view is not None and self.step % self.config.guidance.view_modules == 0:
            metrics |= self.view.measure(self.flat.gradient, self.guidance.reference, source_gradient)
        metrics |= self.guidance.apply(
            self.step,
            # Other ways to H·v make more of the gradient after a backward pass, or none by it.
            lambda: self._losses(
                pairs, len(pairs), stage=2, complete=self.guidance.hvp == "finite_difference"
            ),
            source_gradient,
            self.sum.all_reduce,
        )
        if rows is not None and self.combination is not None:
            rows[0] = self.flat.gradient
            self.flat.gradient.copy_(self.combination(rows, self._seed(4)))
        elif source_gradient is not None and self.config.guidance.lambda_source > 0:
            self.flat.gradient.add_(
                source_gradient, alpha=self.config.guidance.lambda_source * self._strength
            )
        metrics["skipped"] = self._update()
        return metrics

    @property
    def _strength(self) -> float:
        """Of the whole mixture: what its weights add up to, and 1 but for rounding unless they follow the evidence."""
        total = sum(self.weights.values())
        return total if total < 0.999 else 1.0

    @property
    def _first_target_step(self) -> int:
        """Of a sequential schedule."""
        return self.settings.max_steps // 2

    @property
    def _second_phase(self) -> int:
        """Its first step; 0 where there is one phase only."""
        return self._first_target_step if self.sequential else self.contrastive_steps

    def _learning_rate_factor(self, step: int) -> float:
        """Rises and falls over the training, or over each of its two phases."""
        first, steps = self._second_phase, self.settings.max_steps
        step, steps = (step, first) if step < first else (step - first, steps - first)
        return learning_rate_factor(step, steps, self.settings.warmup_ratio)

    def _add_to_average(self) -> None:
        """The mean of the parameters after the last steps, those of the last phase at most."""
        steps = self.settings.max_steps
        first = steps - round(self.settings.average * steps)
        if self._second_phase < steps:
            first = max(first, self._second_phase)
        number = self.step + 1 - first
        if number < 1:
            return
        if self.average is None:
            self.average = self.flat.values.clone()
        else:
            self.average.lerp_(self.flat.values, 1 / number)

    def _set_learning_rates(self) -> None:
        if self._second_phase and self.step == self._second_phase:
            self.optimiser.state.clear()
        factor = self._learning_rate_factor(self.step)
        for group, (_, placement) in zip(self.optimiser.param_groups, self.layout.groups):
            group["lr"] = factor * (
                self.settings.head_learning_rate if placement.is_head else self.settings.learning_rate
            )

    def _source_rows(self, pairs: Sequence[Pair], mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients [1 + S, P] of the sources in this batch, below a free row for the target's, and the mixture's loss.

        A source's row is λ_source·S·w_s·g_s: with equal weights and λ_source = 1 its own gradient. ĝ_S goes into
        ``mixture``.
        """
        parts: dict[int, list[Pair]] = {}
        for pair in pairs:
            parts.setdefault(id(pair[0]), []).append(pair)
        rows = torch.empty(1 + len(parts), self.flat.size, device=self.flat.device)
        loss = torch.zeros((), device=self.flat.device)
        for number, part in enumerate(parts.values(), start=1):
            # The share of the batch is the source's weight.
            loss += self._backward(part, len(pairs), stage=10 + number)
            rows[number] = self.flat.gradient
        mixture.copy_(rows[1:].sum(0))
        rows[1:] *= self.config.guidance.lambda_source * self._strength * len(parts)
        return rows, loss

    def _update(self) -> Tensor:
        """Clip, then step, unless the gradient is not finite: then return 1, all decided on the device."""
        gradient = self.flat.gradient
        norm = torch.linalg.vector_norm(gradient)
        bad = (~torch.isfinite(norm)).float()
        gradient.mul_((self.settings.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        # Fused optimisers skip the whole step, moments and counters included, where this is 1.
        self.optimiser.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue]
        self.optimiser.step()
        self.skipped += bad
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * bad
        self.longest_skip = torch.maximum(self.longest_skip, self.skipped_in_a_row)
        return bad

    def _target_pairs(self, step: int) -> list[Pair]:
        rows = target_batch(len(self.target), self.settings.batch_size, step, self.config.seed)
        return [(self.target, int(row)) for row in rows]

    def _source_pairs(self) -> list[Pair]:
        sizes = {name: len(rows) for name, rows in self.sources.items()}
        drawn = source_batch(
            sizes, self.weights, self.settings.source_batch_size, self.step, self.config.seed
        )
        return [(self.sources[name], row) for name, row in drawn]

    def _losses(
        self, pairs: Sequence[Pair], total: int, stage: int, complete: bool = True
    ) -> Iterator[Tensor]:
        """Losses of this worker's micro-batches, each divided by the global batch size: their sum is the mean loss.

        The random state is set before each micro-batch from (seed, step, stage, micro-batch, worker): asking for
        the same losses again repeats the same dropout masks, and so does a resumed run.

        Args:
            complete: whether the gradient is complete after the backward pass of the last one.
        """
        mine = shard(pairs, self.communicator.rank, self.communicator.world_size)
        size = self.settings.micro_batch_size or max(1, len(mine))
        if size < len(mine):
            mine = by_length(mine)
        for number, start in enumerate(range(0, len(mine), size)):
            torch.manual_seed(self._seed(stage, number, self.communicator.rank))
            loss = self._row_losses(self.model.collate(mine[start : start + size])).sum() / total
            if complete and start + size >= len(mine):
                self.sum.arm()
            yield loss

    def _row_losses(self, batch: Batch) -> Tensor:
        """Of the phase: of pairs, or of labels."""
        if self.step < self.contrastive_steps:
            assert isinstance(self.model, EncoderClassifier)
            return pair_losses(self.model.features(batch), batch)
        return self.model.losses(batch)

    def _seed(self, *place: int) -> int:
        """A seed for this place of this step."""
        key = [self.config.seed, self.step, *place]
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)

    def _backward(self, pairs: Sequence[Pair], total: int, stage: int) -> Tensor:
        """Put the gradient of the mean loss, summed over workers, into the flat buffer; return this worker's loss."""
        self.flat.zero_gradient()
        loss = torch.zeros((), device=self.flat.values.device)
        for part in self._losses(pairs, total, stage):
            part.backward()
            loss += part.detach()
        self.sum.all_reduce(self.flat.gradient)
        return loss

    @property
    def _looks(self) -> bool:
        """Whether the probe's gradient is taken at this step."""
        return self.step % (PROBED_WINDOWS * self.settings.logging_steps) == 0

    def _probe_sources(self) -> None:
        """The gradient of the probe's mixture, to be looked at."""
        if self.probed is None or not self._looks:
            return
        rows = {name: tokens for name, (tokens, _) in self.probe.items()}
        sizes = {name: len(tokens) for name, tokens in rows.items()}
        weights = {name: weight for name, (_, weight) in self.probe.items()}
        drawn = source_batch(sizes, weights, self.settings.source_batch_size, self.step, self.config.seed)
        self._backward([(rows[name], row) for name, row in drawn], max(1, len(drawn)), stage=5)
        self.probed.copy_(self.flat.gradient)

    def _refresh_reference(self) -> None:
        """Renew the direction reference from all few-shot rows, where the configuration asks for it."""
        guidance = self.config.guidance
        due = (
            guidance.reference == "full"
            and guidance.lambda_direction > 0
            and self.step % guidance.reference_every == 0
        )
        if due:
            everything = [(self.target, row) for row in range(len(self.target))]
            self._backward(everything, len(everything), stage=3)
            self.guidance.set_reference(self.flat.gradient)

    def _stability(self, metrics: dict[str, Tensor]) -> None:
        """Cosine of consecutive target gradients, from sketches: at every logged step, so that it costs little."""
        phase = self.step % self.settings.logging_steps
        if phase not in (
            self.settings.logging_steps - 1,
            (self.settings.logging_steps - 2) % self.settings.logging_steps,
        ):
            self.previous_sketch = None
            return
        sketch = self.sketcher.sketch(self.flat.gradient)
        if self.previous_sketch is not None:
            metrics["step_cosine"] = torch.cosine_similarity(sketch, self.previous_sketch, dim=0)
        self.previous_sketch = sketch

    def _refresh_weights(self, updates: WeightUpdates | None) -> None:
        """Hand worker 0's new weights to all workers. All take the same ones at the same step."""
        every = self.config.alignment.refresh_interval
        if not self.uses_sources or not every or self.step == 0 or self.step % every:
            return
        names = list(self.sources)
        message = torch.zeros(len(names) + 1, device=self.flat.values.device)
        if self.communicator.rank == 0 and updates is not None:
            weights = updates.refresh(self.step, self.flat.values)
            if weights is not None:
                message = torch.tensor(
                    [1.0, *(weights.get(name, 0.0) for name in names)], device=message.device
                )
        self.communicator.all_reduce(message)
        arrived, *values = message.tolist()
        if arrived:
            self.weights = dict(zip(names, values))
        else:
            self.late_updates += self.step > every  # the first refresh has nothing to collect yet

    def _fetch(self, pending: list[tuple[int, float, dict[str, Tensor]]]) -> list[Event]:
        """Bring the metrics of the last steps to the host in one transfer; stop after too many skipped steps."""
        names = [(row, name) for row, (_, _, metrics) in enumerate(pending) for name in metrics]
        values = torch.stack([pending[row][2][name].float() for row, name in names])
        shares = torch.tensor([name.endswith("loss") for _, name in names], device=values.device)
        losses = values * shares  # each worker holds its share of a loss, and the whole of everything else
        self.communicator.all_reduce(losses)
        values = torch.where(shares, losses, values)
        *numbers, longest = torch.cat([values, self.longest_skip.reshape(1)]).tolist()
        finished = time.perf_counter()
        seconds = (finished - pending[0][1]) / len(pending)
        events: list[Event] = []
        for row, (step, _, _) in enumerate(pending):
            rate = self.settings.learning_rate * self._learning_rate_factor(step)
            metrics = {name: value for (at, name), value in zip(names, numbers) if at == row}
            events.append({"step": step, **metrics, "learning_rate": rate, "seconds": seconds})
        if longest >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"training stopped at step {self.step}: {int(longest)} steps in a row had a gradient that was not "
                "finite; lower train.learning_rate or guidance.fd_relative_change, or look for broken rows"
            )
        return events
