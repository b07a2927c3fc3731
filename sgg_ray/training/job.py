"""One whole training in one worker: build, train, evaluate. What Ray Train, a baseline and a sweep trial all run."""

from collections.abc import Mapping, Sequence
from typing import Any

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
    find_model,
    gathered,
    in_turn,
    most_examples,
    place_model,
)
from sgg_ray.tasks import ONE_LABEL, Task, label_name_rows
from sgg_ray.training.averaging import run_average, used_sources
from sgg_ray.training.checkpoint import load_checkpoint
from sgg_ray.training.choice import member_config, only_member
from sgg_ray.training.communicator import Communicator, SingleProcess
from sgg_ray.training.hooks import Hooks
from sgg_ray.training.outcome import Outcome
from sgg_ray.training.predict_rows import predict_rows
from sgg_ray.training.predictions import Predictions
from sgg_ray.training.setfit import train_setfit
from sgg_ray.training.trainer import Trainer
from sgg_ray.training.training_state import TrainingState

IN_CONTEXT = 6  # stream of random numbers
EPISODES_OF_A_SHOT = 8  # each behind others, or the same in another order


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
    if config.train.method == "auto":
        return run_average(
            run_training, config, target, sources, weights, device, communicator, hooks, foundation
        )
    if config.train.method != "gradients":
        return _run_untrained(config, target, device, communicator, hooks, foundation)
    used = used_sources(config, target, sources, weights)
    model = place_model(build_model(config, [target, *used], foundation, device), config, device)
    _calibrate(model, config, [*used, target])
    trainer = _train(model, config, target, used, weights, communicator, hooks)
    _show(model, target, config)
    predictions = _predict_test_rows(model, config, target, communicator, hooks)
    wanted = trainer.flat.sharded and hooks.whole_model
    if wanted and (whole := gathered(model, keep=communicator.rank == 0)):
        model = _whole(model, whole, build_model(config, [target, *used], foundation))
    return Outcome(
        model,
        predictions,
        int(trainer.skipped),
        trainer.late_updates,
        trainer.flat.total_size,
        dict(trainer.weights),
    )


def _train(
    model: TaskModel,
    config: Config,
    target: Task,
    sources: Sequence[Task],
    weights: Mapping[str, float],
    communicator: Communicator,
    hooks: Hooks,
) -> Trainer:
    """Train the model from where it stands, or from a checkpoint, to the end; returns what the training ended with."""
    trainer = Trainer(
        model,
        _training_rows(model, target, config, EPISODES_OF_A_SHOT),
        {source.name: _training_rows(model, source, config) for source in sources},
        weights,
        config,
        communicator,
        _probe(model, target, hooks),
        _names(model, target, config),
    )
    if hooks.phases is not None:
        trainer.phases = tuple(hooks.phases(trainer))
    if hooks.resume_from is not None:
        load_checkpoint(trainer, hooks.resume_from)
    keep = hooks.checkpoint
    checkpoint = None if keep is None else lambda trainer: keep(TrainingState(trainer))
    updates = hooks.updates if hooks.updates_of is None else hooks.updates_of(model)
    trainer.run(hooks.on_events, checkpoint, updates, hooks.checkpoint_wanted)
    return trainer


def _whole(sharded: TaskModel, trained: Mapping[str, torch.Tensor], model: TaskModel) -> TaskModel:
    """A model that is not sharded, with what was trained, to be written and used."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in trained:
                parameter.data = trained[name].to(parameter.dtype)
    if isinstance(sharded, LanguageModel) and isinstance(model, LanguageModel):
        model.offsets = {key: offset.cpu() for key, offset in sharded.offsets.items()}
        model.shots = sharded.shots
    return model


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
    predictions = _predict_test_rows(model, config, target, communicator, hooks)
    return Outcome(model, predictions, 0, 0, sum(value.numel() for value in model.parameters()))


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
    model = place_model(build_model(bare, [target], foundation, device), bare, device)
    assert isinstance(model, LanguageModel)
    if in_context:
        order = in_turn(target.train.labels, np.random.default_rng([config.seed, IN_CONTEXT]))
        model.show(target, target.train.take(order), longest)
    _calibrate(model, config, [target])
    predictions = _predict_test_rows(model, config, target, communicator, hooks)
    return Outcome(model, predictions, 0, 0, 0)


def _predict_test_rows(
    model: TaskModel, config: Config, target: Task, communicator: Communicator, hooks: Hooks
) -> Predictions:
    """What the model makes of the test rows."""
    size = config.train.eval_batch_size
    return predict_rows(model, target, target.test, size, communicator, hooks.on_evaluation)


def _training_rows(model: TaskModel, task: Task, config: Config, copies: int = 1) -> TokenisedRows:
    """The task's rows as the model is trained on them: alone, or as episodes."""
    if not config.train.context_examples:
        return model.tokenise(task, task.train)
    assert isinstance(model, LanguageModel)
    return model.tokenise_episodes(task, task.train, config.train.context_examples, config.seed, copies)


def _show(model: TaskModel, target: Task, config: Config) -> None:
    """Put the shots before every text from now on, as many as the training has shown."""
    if not config.train.context_examples:
        return
    assert isinstance(model, LanguageModel)
    longest = config.train.max_length
    short = model.prompter.shortened(target, target.train, longest)
    order = in_turn(short.labels, np.random.default_rng([config.seed, IN_CONTEXT]))
    count = most_examples(short.labels, config.train.context_examples)
    model.show(target, short.take(order[:count]), longest)


def _calibrate(model: TaskModel, config: Config, tasks: Sequence[Task]) -> None:
    """Contextual calibration of every label set, at the parameters that the model has now."""
    if config.model.contextual_calibration and isinstance(model, LanguageModel):
        for task in {
            task.head: task for task in tasks if task.kind in ONE_LABEL and not task.generates
        }.values():
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
    wanted = config.train.head == "label_names" and target.kind == "classification"
    rows = label_name_rows(target.labels) if wanted else None
    return None if rows is None else model.tokenise(target, rows)


def plain(config: Config) -> Config:
    """The same configuration without sources and without any term: ordinary fine-tuning on the target alone.

    Where strategy ``auto`` takes another learning rate for a language model, its baseline has that too.
    """
    if config.train.method == "auto":
        architecture = find_model(config.model.path).architecture
        config = member_config(config, only_member(config, architecture, with_sources=False))
    off = config.guidance.model_copy(
        update={
            "lambda_direction": 0.0,
            "lambda_magnitude": 0.0,
            "lambda_alignment": 0.0,
            "lambda_source": 0.0,
        }
    )
    alignment = config.alignment.model_copy(update={"refresh_interval": 0})
    changes: dict[str, Any] = {"sources": [], "guidance": off, "alignment": alignment}
    return config.model_copy(update=changes)
