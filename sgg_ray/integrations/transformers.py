"""Guidance in ``transformers.Trainer`` and what is derived from it, such as TRL's ``SFTTrainer``."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from sgg_ray.config import GuidanceConfig
from sgg_ray.errors import CheckpointError
from sgg_ray.integrations.guided_gradient import MIXTURE, GuidedGradient, LossFunction, checked_terms
from sgg_ray.integrations.source_mixture import SourceMixture
from sgg_ray.integrations.trainer_checks import check_mixture, check_trainer
from sgg_ray.training.communicator import Distributed, SingleProcess

STATE = "guidance.safetensors"  # in the Trainer's own checkpoints
OWN = "own"  # the user's own evaluation data, beside the sources
COUNTED = ("_metrics", "_total_train_tokens")  # what TRL's compute_loss adds to (1.16)

T = TypeVar("T", bound=Trainer)


@dataclass(frozen=True)
class Settings:
    """What :func:`guided` was asked for."""

    terms: GuidanceConfig
    sources: Mapping[str, Any]
    weights: Mapping[str, float]
    source_batch_size: int


def guided(
    trainer: type[T],
    *,
    sources: Mapping[str, Any] | None = None,
    weights: Mapping[str, float] | None = None,
    source_batch_size: int = 32,
    **terms: Any,
) -> type[T]:
    """A subclass of a Trainer class that trains with structured gradient guidance. All else stays as it is.

    The gradient that the optimiser sees is g + H·v + λ_source ĝ_S (docs/method.md). Gradient accumulation, clipping,
    bfloat16 autocast and data-parallel processes work as usual, and checkpoints keep what guidance remembers. A step
    whose gradient is not finite is left out.

    Args:
        trainer: ``transformers.Trainer``, ``trl.SFTTrainer`` or another class that computes a loss from a batch.
        sources: data sets of the mixture by name, of the same form as ``train_dataset``.
        weights: of the sources, such as the shares that ``sgg score`` reports. What they add up to, if it is less
            than 1, weakens the mixture. None: equal ones.
        source_batch_size: source rows a step, over all processes.
        terms: keys of the section ``guidance`` in docs/configuration.md, such as ``lambda_direction=0.1``.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """
    sources = dict(sources or {})
    shares = {name: 1 / len(sources) for name in sources} if weights is None else dict(weights)
    check_mixture(sources, shares, source_batch_size)
    settings = Settings(checked_terms(terms), sources, shares, source_batch_size)
    return type(f"Guided{trainer.__name__}", (GuidedMixin, trainer), {"guidance_settings": settings})  # pyright: ignore[reportReturnType]


class GuidedMixin(Trainer):
    """The methods of a Trainer that guidance changes; :func:`guided` puts them before a class.

    Raises:
        ConfigError: the arguments leave no room for guidance, such as fp16 or FSDP.
    """

    guidance_settings: Settings

    def __init__(self, *args: Any, **kwargs: Any):
        sources = self.guidance_settings.sources
        given = inspect.signature(super().__init__).bind(*args, **kwargs)
        own = given.arguments.get("eval_dataset")
        if sources:
            # A Trainer prepares evaluation data as it does training data (TRL: chat template, token ids, packing).
            given.arguments["eval_dataset"] = {**sources, **({} if own is None else {OWN: own})}
        super().__init__(*given.args, **given.kwargs)
        self._source_rows: dict[str, Any] = {}
        if sources:
            prepared: Any = self.eval_dataset
            self._source_rows = {name: prepared[name] for name in sources}
            self.eval_dataset = prepared.get(OWN)
        check_trainer(self, self.guidance_settings.source_batch_size if sources else None)
        self.guided_gradient: GuidedGradient | None = None
        self._mixture: SourceMixture | None = None
        self._resumed: Path | None = None
        self._waiting: list[LossFunction] = []
        self._measured: dict[str, Tensor] = {}
        self.add_callback(_Keep(self))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any):
        """Train as Transformers does. A checkpoint that is resumed from must have the state of guidance.

        Raises:
            CheckpointError: it has none, or a damaged one.
        """
        found = resume_from_checkpoint
        if found is True:
            found = get_last_checkpoint(str(self.args.output_dir))
        self._resumed = Path(found) / STATE if found else None
        if self._resumed is not None and not self._resumed.is_file():
            raise CheckpointError(
                f"resume_from_checkpoint: {found} has no {STATE}, it was written without guidance; resume from a "
                "checkpoint of a guided training, or begin anew"
            )
        self.guided_gradient, self._waiting = None, []
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Keep the batches of an optimiser step; with the last of them make its gradient.

        Returns:
            The loss of all of them, which the Trainer adds up; 0 before the last.
        """
        bare = self.accelerator.unwrap_model(
            model
        )  # gradients are summed here, not by DistributedDataParallel
        if self.guided_gradient is None:
            self.guided_gradient = self._begin(bare)
        first = partial(self._loss, bare, inputs, num_items_in_batch)
        self._waiting.append(_CountedOnce(self, first))
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        target, self._waiting = self._waiting, []
        step = self.state.global_step
        source = self._source_losses(bare, step)
        weights = self.guidance_settings.weights if source else MIXTURE
        metrics = self.guided_gradient.put(step, target, source, weights)
        size = max(1, self.args.world_size)
        self._measured = {
            name: value * size if name.endswith("loss") else value for name, value in metrics.items()
        }
        return self._measured["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """What the Trainer reports, and beside the training loss what guidance measured at the last step."""
        if "loss" in logs:
            logs |= {
                f"guidance/{name}": float(value) for name, value in self._measured.items() if name != "loss"
            }
        super().log(logs, *args, **kwargs)

    def _begin(self, model: torch.nn.Module) -> GuidedGradient:
        settings, args = self.guidance_settings, self.args
        named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
        communicator = Distributed() if args.world_size > 1 else SingleProcess()
        found = GuidedGradient(
            named, settings.terms, self.state.max_steps, bool(self._source_rows), communicator
        )
        if self._resumed is not None:
            found.load(self._resumed)
        if found.uses_sources:
            loaders = {name: self.get_eval_dataloader(rows) for name, rows in self._source_rows.items()}
            self._mixture = SourceMixture(
                {
                    name: loader.dataset for name, loader in loaders.items()
                },  # without columns that no model takes
                settings.weights,
                settings.source_batch_size,
                args.train_batch_size,
                next(iter(loaders.values())).collate_fn,
                args.seed if args.data_seed is None else args.data_seed,
                communicator.rank,
                communicator.world_size,
            )
        return found

    def _source_losses(self, model: torch.nn.Module, step: int) -> list[LossFunction]:
        batches = [] if self._mixture is None else list(self._mixture.batches(step))
        if not batches:
            return []
        batches, items = self.get_batch_samples(iter(batches), len(batches), self.args.device)
        return [partial(self._source_loss, model, batch, items, len(batches)) for batch in batches]

    def _source_loss(self, model: torch.nn.Module, inputs: Any, items: Any, count: int) -> Tensor:
        with _uncounted(self), _instead(self, "current_gradient_accumulation_steps", count):
            return self._loss(model, inputs, items)

    def _loss(self, model: torch.nn.Module, inputs: Any, items: Any) -> Tensor:
        """The loss of a micro-batch as the Trainer scales it, with its graph."""
        found: list[Tensor] = []
        with _instead(self.accelerator, "backward", lambda loss, **_: found.append(loss)):
            super().training_step(model, inputs, items)
        return found[0]


class _CountedOnce:
    """A loss whose first call adds to the Trainer's statistics, and whose repetitions do not."""

    def __init__(self, trainer: Trainer, loss: LossFunction):
        self.trainer, self.loss, self.called = trainer, loss, False

    def __call__(self) -> Tensor:
        if not self.called:
            self.called = True
            return self.loss()
        with _uncounted(self.trainer):
            return self.loss()


class _Keep(TrainerCallback):
    """Writes the state of guidance into each checkpoint of the Trainer."""

    def __init__(self, trainer: GuidedMixin):
        self.trainer = trainer

    def on_save(self, args, state, control, **kwargs):
        """The Trainer has written the rest."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and self.trainer.guided_gradient is not None and folder.is_dir():
            self.trainer.guided_gradient.save(folder / STATE)


@contextmanager
def _uncounted(trainer: Trainer) -> Iterator[None]:
    kept = {name: copy.deepcopy(vars(trainer)[name]) for name in COUNTED if name in vars(trainer)}
    try:
        yield
    finally:
        vars(trainer).update(kept)


@contextmanager
def _instead(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an object another attribute for a while."""
    before = vars(owner).get(name, owner)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is owner:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
