"""What runs inside the training workers: under Ray Train, or alone in a Ray task."""

import json
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.exceptions import RayError

from sgg_ray.config import Config
from sgg_ray.errors import CheckpointError, TrainingError, told_where
from sgg_ray.models import save_model
from sgg_ray.orchestration.evaluated_predictions import predicted_file, save_predicted
from sgg_ray.orchestration.train.weight_refresh import RefreshedWeights
from sgg_ray.tasks import Task
from sgg_ray.training import (
    Communicator,
    Distributed,
    Hooks,
    Outcome,
    Predicted,
    SingleProcess,
    Trainer,
    plain,
    run_training,
    save_checkpoint,
)

GUIDED, BASELINE = "guided", "target-only"
RESULT, MODEL = "result.json", "model"


def train_worker(arguments: dict[str, Any]) -> TrainingError | None:
    """The loop of one Ray Train worker: resume if there is a checkpoint, train, evaluate, hand over the model.

    Worker 0 sends events to the driver's :class:`EventLog` and attaches files to checkpoints: the trainer's state
    while training, and model, probabilities and counters at the end.

    Returns:
        What stopped the training for good: all workers meet it at the same step, and it would come again. Errors that
        are raised instead make Ray Train start over from the last checkpoint.
    """
    try:
        ray.get(arguments["log"].confirm.remote())
    except RayError:
        return TrainingError("training stopped: its driver has gone")
    try:
        _train(arguments)
    except CheckpointError:
        raise
    except TrainingError as error:
        return error
    return None


def _train(arguments: dict[str, Any]) -> None:
    config: Config = arguments["config"]
    target, sources = ray.get(arguments["tasks"])
    context = ray.train.get_context()
    first = context.get_world_rank() == 0
    communicator: Communicator = Distributed() if context.get_world_size() > 1 else SingleProcess()
    log, run = arguments["log"], arguments["run"]
    hooks = Hooks(checkpoint=lambda trainer: _report_checkpoint(trainer, log, first))
    if first:
        hooks.on_events = lambda events: log.steps.remote(run, events)
        hooks.on_evaluation = lambda done, total: log.evaluated.remote(run, done, total)
        hooks.on_choice = lambda choice: log.tell.remote(
            run, "choice", choice.to_dict() | {"text": str(choice)}
        )
        hooks.of_member = lambda name: _told_as(f"{run}/{name}", log)
        if arguments["exchange"] is not None:
            hooks.updates = RefreshedWeights(
                arguments["exchange"],
                arguments["weights"],
                on_report=lambda report: log.tell.remote(run, "report", report),
                on_problem=lambda text: log.tell.remote(run, "warning", text),
            )
    stored = ray.train.get_checkpoint() or arguments["checkpoint"]
    if stored is not None and _is_final(stored, config, first):
        return
    with tempfile.TemporaryDirectory() as scratch:
        if stored is not None:
            hooks.resume_from = Path(stored.to_directory(scratch))
        device = ray.train.torch.get_device()
        assert isinstance(device, torch.device)
        outcome = run_training(config, target, sources, arguments["weights"], device, communicator, hooks)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = None
        if first:
            ray.get(log.confirm.remote())
            with told_where(scratch):
                _write_result(Path(scratch), outcome, config, target)
            checkpoint = ray.train.Checkpoint.from_directory(scratch)
        ray.train.report({"step": config.train.max_steps, "final": True}, checkpoint=checkpoint)


def _told_as(run: str, log: Any) -> Hooks:
    """What a further member of an average tells the driver."""
    return Hooks(
        on_events=lambda events: log.steps.remote(run, events),
        on_evaluation=lambda done, total: log.evaluated.remote(run, done, total),
    )


def _is_final(stored: ray.train.Checkpoint, config: Config, first: bool) -> bool:
    """Whether the training had ended before it was stopped; then its result is reported once more."""
    with stored.as_directory() as folder:
        if not (Path(folder) / RESULT).exists():
            return False
        again = ray.train.Checkpoint.from_directory(folder) if first else None
        ray.train.report({"step": config.train.max_steps, "final": True}, checkpoint=again)
    return True


def _report_checkpoint(trainer: Trainer, log: Any, first: bool) -> None:
    """Every worker reports, worker 0 attaches the state (all hold the same).

    Not before the events of the steps so far have arrived: a run that goes on from here would not tell them again.
    """
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = None
        if first:
            ray.get(log.confirm.remote())
            with told_where(scratch):
                save_checkpoint(trainer, Path(scratch))
            checkpoint = ray.train.Checkpoint.from_directory(scratch)
        ray.train.report({"step": trainer.step, "final": False}, checkpoint=checkpoint)


def _write_result(folder: Path, outcome: Outcome, config: Config, target: Task) -> None:
    (folder / MODEL).mkdir()
    save_model(
        outcome.model, folder / MODEL, base=config.model.path, target_head=target.head, fields=target.fields
    )
    save_predicted(folder / predicted_file(target), outcome.predicted)
    (folder / RESULT).write_text(json.dumps(result_of(outcome)), encoding="utf-8")


def result_of(outcome: Outcome) -> dict[str, Any]:
    """The numbers of an outcome that go into files."""
    return {
        "skipped_steps": outcome.skipped_steps,
        "late_updates": outcome.late_updates,
        "trainable_parameters": outcome.trainable,
        "weights": outcome.weights,
        **({"choice": outcome.choice.to_dict()} if outcome.choice else {}),
    }


@ray.remote(max_retries=2)
def train_alone(config: Config, target: Task, log: Any) -> tuple[Predicted, dict[str, Any]]:
    """Ordinary fine-tuning on the target alone, same seed and steps, in one process: what guidance has to beat."""
    hooks = Hooks(
        on_events=lambda events: log.steps.remote(BASELINE, events),
        on_evaluation=lambda done, total: log.evaluated.remote(BASELINE, done, total),
    )
    device = torch.device("cuda" if config.ray.gpus_per_worker > 0 else "cpu")
    outcome = run_training(plain(config), target, [], {}, device, hooks=hooks)
    return outcome.predicted, result_of(outcome)
