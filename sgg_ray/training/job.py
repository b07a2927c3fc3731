"""One whole training in one worker: build, train, evaluate. What Ray Train, a baseline and a sweep trial all run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.models import (
    EncoderClassifier,
    LanguageModel,
    PretrainedModel,
    TaskModel,
    TokenisedRows,
    build_model,
)
from sgg_ray.tasks import Task, label_name_rows, sharing_labels
from sgg_ray.training.answers import Answers, answer
from sgg_ray.training.checkpoint import load_checkpoint
from sgg_ray.training.communicator import Communicator, SingleProcess
from sgg_ray.training.evaluate import predict
from sgg_ray.training.setfit import train_setfit
from sgg_ray.training.trainer import Event, Trainer, WeightUpdates

IN_CONTEXT = 6  # stream of random numbers

Predicted = np.ndarray | Answers  # probabilities [test rows, C], or of kind generation answers


@dataclass
class Hooks:
    """What the surroundings of a training want to hear of it. By default nothing."""

    on_events: Callable[[Sequence[Event]], None] = lambda events: None
    on_evaluation: Callable[[int, int], None] = lambda done, total: None
    checkpoint: Callable[[Trainer], None] | None = None
    updates: WeightUpdates | None = None
    resume_from: Path | None = None
    probe: tuple[Sequence[Task], Mapping[str, float]] | None = (
        None  # sources with weights, only to be looked at
    )


@dataclass(frozen=True)
class Outcome:
    """What a training leaves behind in memory."""

    model: TaskModel
    predicted: Predicted
    skipped_steps: int
    late_updates: int
    trainable: int  # P
    weights: dict[str, float] = field(default_factory=dict)  # of the sources, as they were at the end

    @property
    def probabilities(self) -> np.ndarray:
        """Of the labels of each test row [test rows, C]; only a target with labels has them."""
        assert isinstance(self.predicted, np.ndarray)
        return self.predicted

    @property
    def answers(self) -> Answers:
        """To the test rows; only a target of kind generation has them."""
        assert isinstance(self.predicted, Answers)
        return self.predicted


def run_training(
    config: Config,
    target: Task,
    sources: Sequence[Task],
    weights: Mapping[str, float],
    device: torch.device,
    communicator: Communicator | None = None,
    hooks: Hooks | None = None,
    foundation: PretrainedModel | None = None,
) -> Outcome:
    """Fine-tune the configured model on ``target`` with a weighted mixture of ``sources``, and predict the test rows.

    Sources whose weight is 0, now and for the whole run, are left out altogether.

    Args:
        foundation: the pre-trained model, if this process has it already.

    Raises:
        ModelError: the model cannot be built.
        TrainingError: too many steps without a finite gradient, or an unreadable checkpoint.
    """
    communicator, hooks = communicator or SingleProcess(), hooks or Hooks()
    if config.train.method == "setfit":
        return _run_setfit(config, target, device, communicator, hooks, foundation)
    if config.train.method != "gradients":
        return _run_untrained(config, target, device, communicator, hooks, foundation)
    refreshed = config.alignment.refresh_interval > 0
    used = [source for source in sources if refreshed or weights.get(source.name, 0.0) > 0]
    if config.train.share_labels:
        used = sharing_labels(target, used)
    model = build_model(config, [target, *used], foundation).to(device)
    _calibrate(model, config, [*used, target])
    trainer = Trainer(
        model,
        model.tokenise(target, target.train),
        {source.name: model.tokenise(source, source.train) for source in used},
        weights,
        config,
        communicator,
        _probe(model, target, hooks),
        _names(model, target, config),
    )
    if hooks.resume_from is not None:
        load_checkpoint(trainer, hooks.resume_from)
    trainer.run(hooks.on_events, hooks.checkpoint, hooks.updates)
    predicted = _predict_test_rows(model, config, target, communicator, hooks)
    return Outcome(
        model,
        predicted,
        int(trainer.skipped),
        trainer.late_updates,
        trainer.flat.size,
        dict(trainer.weights),
    )


def _run_setfit(
    config: Config,
    target: Task,
    device: torch.device,
    communicator: Communicator,
    hooks: Hooks,
    foundation: PretrainedModel | None,
) -> Outcome:
    """The same with another package's loop, of which only the time is known."""
    model = build_model(config, [target], foundation).to(device)
    assert isinstance(model, EncoderClassifier)
    seconds = train_setfit(model, target, config)
    hooks.on_events([{"step": config.train.max_steps - 1, "seconds": seconds}])
    predicted = _predict_test_rows(model, config, target, communicator, hooks)
    return Outcome(model, predicted, 0, 0, sum(value.numel() for value in model.parameters()))


def _run_untrained(
    config: Config,
    target: Task,
    device: torch.device,
    communicator: Communicator,
    hooks: Hooks,
    foundation: PretrainedModel | None,
) -> Outcome:
    """Whether fine-tuning pays at all: the model as it is, with or without the shots in the prompt."""
    in_context = config.train.method == "in_context"
    longest = config.train.max_length
    if in_context:
        train = config.train.model_copy(update={"max_length": config.train.context_length})
        config = config.model_copy(update={"train": train})
    bare = config.model_copy(update={"model": config.model.model_copy(update={"adapter": None})})
    model = build_model(bare, [target], foundation).to(device)
    assert isinstance(model, LanguageModel)
    if in_context:
        model.show(target, target.train.take(_in_turn(target.train.labels, config.seed)), longest)
    _calibrate(model, config, [target])
    predicted = _predict_test_rows(model, config, target, communicator, hooks)
    return Outcome(model, predicted, 0, 0, 0)


def _predict_test_rows(
    model: TaskModel, config: Config, target: Task, communicator: Communicator, hooks: Hooks
) -> Predicted:
    """What the model makes of the test rows."""
    if target.generates:
        assert isinstance(model, LanguageModel)
        size = config.train.eval_batch_size
        return answer(model, target, target.test, size, communicator, hooks.on_evaluation)
    rows = model.tokenise(target, target.test)
    return predict(model, rows, config.train.eval_batch_size, communicator, hooks.on_evaluation)


def _in_turn(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order [n] in which the classes take turns: any beginning of it is as balanced as it can be."""
    order = np.random.default_rng([seed, IN_CONTEXT]).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for value in np.unique(labels):
        members = order[labels[order] == value]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")]


def _calibrate(model: TaskModel, config: Config, tasks: Sequence[Task]) -> None:
    """Contextual calibration of every label set, at the parameters that the model has now."""
    if config.model.contextual_calibration and isinstance(model, LanguageModel):
        for task in {task.head: task for task in tasks if not task.generates}.values():
            model.calibrate(task)


def _probe(model: TaskModel, target: Task, hooks: Hooks) -> dict[str, tuple[TokenisedRows, float]]:
    """Those sources of the probe that share the target's head, the only one that every model has."""
    sources, weights = hooks.probe or ((), {})
    return {
        source.name: (model.tokenise(source, source.train), weights[source.name])
        for source in sources
        if source.head == target.head and weights.get(source.name, 0.0) > 0
    }


def _names(model: TaskModel, target: Task, config: Config) -> TokenisedRows | None:
    """What the target's labels are called, if its head begins there."""
    rows = label_name_rows(target.labels) if config.train.head == "label_names" else None
    return None if rows is None else model.tokenise(target, rows)


def plain(config: Config) -> Config:
    """The same configuration without sources and without any term: ordinary fine-tuning on the target alone."""
    off = config.guidance.model_copy(
        update={
            "lambda_direction": 0.0,
            "lambda_magnitude": 0.0,
            "lambda_alignment": 0.0,
            "lambda_source": 0.0,
        }
    )
    alignment = config.alignment.model_copy(update={"refresh_interval": 0})
    return config.model_copy(update={"sources": [], "guidance": off, "alignment": alignment})
