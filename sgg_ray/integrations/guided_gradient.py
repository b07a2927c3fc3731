"""The product's update g + H·v + λ_source ĝ_S over losses that somebody else's loop computes."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sgg_ray.config import GuidanceConfig
from sgg_ray.config.messages import problem_line
from sgg_ray.errors import CheckpointError, ConfigError, TrainingError
from sgg_ray.gradients import FlatParameters
from sgg_ray.training.communicator import Communicator
from sgg_ray.training.passes import GradientPasses
from sgg_ray.training.phases import guidance_of
from sgg_ray.training.reduction import STRETCH, GradientSum
from sgg_ray.training.trainer import MOST_SKIPPED_IN_A_ROW
from sgg_ray.training.updates import GuidedSum, GuidedTarget

LossFunction = Callable[[], Tensor]

MIXTURE = {"mixture": 1.0}  # weights of a mixture whose parts the caller has drawn


def checked_terms(terms: Mapping[str, Any]) -> GuidanceConfig:
    """Keyword arguments as the section ``guidance`` of a configuration.

    Raises:
        ConfigError: a name or a value is wrong; all of them at once.
    """
    try:
        return GuidanceConfig.model_validate(dict(terms))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
        places = [{**detail, "loc": ("guidance", *detail["loc"])} for detail in found]
        lines = [problem_line(place, {"guidance": dict(terms)}) for place in places]  # pyright: ignore[reportArgumentType]
        raise ConfigError(lines) from error


class Repeatable:
    """A loss that comes out the same when it is asked for again: the random state is that of the first time.

    A finite difference needs that, or it would measure dropout masks.
    """

    def __init__(self, loss: LossFunction, device: torch.device):
        self.loss, self.device = loss, device
        self._state: list[Tensor] | None = None

    def __call__(self) -> Tensor:
        """The loss, with its graph."""
        cuda = self.device.type == "cuda"
        if self._state is None:
            self._state = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(self.device)] if cuda else [])
        else:
            torch.set_rng_state(self._state[0])
            if cuda:
                torch.cuda.set_rng_state(self._state[1], self.device)
        return self.loss()


class GivenPasses(GradientPasses):
    """Passes over micro-batches that the caller brings along at each step.

    A worker's losses add up to the mean loss of its own rows; the loss that is trained is their mean over the workers.
    """

    def __init__(self, parameters: FlatParameters, communicator: Communicator):
        self.flat, self.communicator = parameters, communicator
        self.sum = GradientSum(parameters, slice(0, parameters.size), communicator, STRETCH)
        self.target: Sequence[Repeatable] = ()
        self.source: Sequence[Repeatable] = ()

    def target_batch(self, step: int) -> Sequence[Repeatable]:
        """The target's micro-batches."""
        return self.target

    def source_batch(self, step: int, weights: Mapping[str, float]) -> Sequence[Repeatable]:
        """The mixture's micro-batches."""
        return self.source

    def losses(
        self, pairs: Sequence[Repeatable], total: int, step: int, purpose: int, complete: bool = True
    ) -> Iterator[Tensor]:
        """This worker's losses, each divided by the number of workers."""
        for number, part in enumerate(pairs, start=1):
            loss = part() / self.communicator.world_size
            if complete and number == len(pairs):
                self.sum.arm()
            yield loss


class GuidedGradient:
    """Makes the gradient of the guided objective from losses, and remembers what guidance remembers.

    The parameters move into one flat float32 buffer, of which they are views from then on, as are their gradients.

    Args:
        named_parameters: all that the optimiser trains, with unique names.
        settings: the terms.
        steps: of the whole training, over ``warmup_ratio`` of which λ rises.
        with_sources: whether steps come with losses of a source mixture. Its parameters are then all shared.
        communicator: the other workers, which must begin with the same parameters.

    Raises:
        ModelError: there is nothing to train, or parameters are on several devices.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        settings: GuidanceConfig,
        steps: int,
        with_sources: bool,
        communicator: Communicator,
    ):
        self.flat = FlatParameters(named_parameters)
        self.uses_sources = with_sources and (settings.lambda_source > 0 or settings.lambda_alignment > 0)
        everything = slice(0, self.flat.size)
        private, shared = everything, slice(everything.stop, everything.stop)
        if self.uses_sources:
            private, shared = slice(0, 0), everything
        self.guidance = guidance_of(settings, self.flat, private, shared, steps, communicator.world_size)
        self.passes = GivenPasses(self.flat, communicator)
        mixture = torch.zeros_like(self.flat.values) if self.uses_sources else None
        target = GuidedTarget(self.passes, self.guidance, None)
        self.update = GuidedSum(target, settings.lambda_source, mixture)
        self.skipped_in_a_row = 0

    def put(
        self,
        step: int,
        target: Sequence[LossFunction],
        source: Sequence[LossFunction] = (),
        weights: Mapping[str, float] = MIXTURE,
    ) -> dict[str, Tensor]:
        """Put the gradient of a step into ``parameter.grad``; where it is not finite, None, which optimisers skip.

        Args:
            step: of the training, from 0.
            target: losses of this worker's micro-batches; their sum is the mean loss of its rows. Each is called once
                a pass and must not touch gradients.
            source: the same of the source mixture.
            weights: of the mixture. What they add up to, if it is less than 1, weakens it.

        Returns:
            What :meth:`Guidance.apply` returns, and ``loss`` and ``source_loss``, shares of this worker.

        Raises:
            TrainingError: too many steps in a row had a gradient that was not finite.
        """
        self.passes.target = [Repeatable(loss, self.flat.device) for loss in target]
        self.passes.source = [Repeatable(loss, self.flat.device) for loss in source]
        metrics = self.update(step, weights)
        self.passes.target = self.passes.source = ()  # they hold on to batches
        if torch.isfinite(torch.linalg.vector_norm(self.flat.gradient)):
            self.skipped_in_a_row = 0
            return metrics
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"training stopped at step {step}: {self.skipped_in_a_row} steps in a row had a gradient that was not "
                "finite; lower the learning rate or fd_relative_change, or look for broken rows"
            )
        for parameter in self.flat.parameters:
            parameter.grad = None
        return metrics

    def save(self, file: Path) -> None:
        """Write what guidance remembers; parameters and optimiser state belong to the loop."""
        tensors = {name: value.detach().cpu() for name, value in self.guidance.state_dict().items()}
        save_file(tensors, file, {"parameters": json.dumps(self.flat.names)})

    def load(self, file: Path) -> None:
        """Continue from :meth:`save`.

        Raises:
            CheckpointError: the file is missing or damaged, or belongs to other parameters.
            ModelError: it belongs to other terms.
        """
        try:
            with safe_open(file, framework="pt") as stored:
                names = json.loads((stored.metadata() or {})["parameters"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118, no dictionary
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"checkpoint: {file} cannot be read ({error}); it is written beside a guided training's own "
                "checkpoints: resume from one of these, or begin anew"
            ) from error
        if tuple(names) != self.flat.names:
            raise CheckpointError(f"checkpoint: {file} belongs to a model with other trainable parameters")
        self.guidance.load_state_dict(tensors)
