"""What runs inside the training workers: under Ray Train, or alone in a Ray task."""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import Config
from sgg_ray.errors import CheckpointError, ClusterError, TrainingError, told_where
from sgg_ray.evaluation import BASELINE, GUIDED
from sgg_ray.models import TaskModel, save_model
from sgg_ray.orchestration.messages import (
    Recorded,
    RowsPredicted,
    ScoresRefreshed,
    StrategyChosen,
    Warned,
    steps_of,
)
from sgg_ray.orchestration.runtime.event_log import Log
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.train.checkpoint_request import CheckpointRequest
from sgg_ray.orchestration.train.history import History, save_histories, saved_histories
from sgg_ray.orchestration.train.sharded_refresh import ShardedRefresh
from sgg_ray.orchestration.train.weight_refresh import RefreshedWeights
from sgg_ray.tasks import Task
from sgg_ray.training import (
    ArrayPredictions,
    Choice,
    Event,
    Hooks,
    Outcome,
    Predictions,
    TrainingState,
    communicator_here,
    plain,
    predictions_path,
    run_training,
)

BASELINE_STATE = "baseline_model"  # folder of the baseline's model, until the run is finished
RESULT, MODEL = "result.json", "model"
WITHOUT = "without_self_training_"  # predictions of an average without its self-trained member
ALONE_STATE = (
    "ray_alone"  # Ray Train's own folder while a sharded model is trained beside the run's own training
)


@dataclass(frozen=True)
class TrainingJob:
    """What every worker of a data-parallel training is given.

    Args:
        tasks: reference to (target, sources).
        weights: of the sources in the mixture.
        log: where worker 0 tells the training's history.
        run: what it is told under.
        workers: task workers that refresh the weights.
        checkpoint: what to go on from when Ray Train has none.
        keeps_model: whether the trained model is wanted; a sweep asks for its predictions alone.
    """

    config: Config
    tasks: ray.ObjectRef
    weights: Mapping[str, float]
    log: Log
    run: str = GUIDED
    workers: TaskWorkers | None = None
    checkpoint: ray.train.Checkpoint | None = None
    keeps_model: bool = True


def train_worker(arguments: dict[str, TrainingJob]) -> TrainingError | None:
    """The loop of one Ray Train worker: resume if there is a checkpoint, train, evaluate, hand over the model.

    Worker 0 tells the driver of its steps and attaches files to checkpoints: the trainer's state and the history so
    far while training; model, probabilities, counters and the whole history at the end.

    Args:
        arguments: the job under ``job``; Ray Train takes a dictionary only.

    Returns:
        What stopped the training for good: all workers meet it at the same step, and it would come again. Errors that
        are raised instead make Ray Train start over from the last checkpoint.
    """
    job = arguments["job"]
    try:
        job.log.require_driver()
    except ClusterError as error:
        return TrainingError(f"training stopped: {error}")
    try:
        _train(job)
    except CheckpointError:
        raise
    except TrainingError as error:
        return error
    return None


def _train(job: TrainingJob) -> None:
    target, sources = ray.get(job.tasks)
    context = ray.train.get_context()
    first = context.get_world_rank() == 0
    communicator = communicator_here()
    stored = ray.train.get_checkpoint() or job.checkpoint
    if stored is not None and _is_final(stored, job.config, first):
        return
    with tempfile.TemporaryDirectory() as scratch:
        resumed = None if stored is None else Path(stored.to_directory(scratch))
        before = saved_histories(resumed) if resumed else {}
        histories = {job.run: History(job.run, job.log)}
        histories |= {run: History(run, job.log, told.entries) for run, told in before.items()}
        hooks = _hooks(job, (target, sources), histories, first)
        hooks.resume_from, hooks.whole_model = resumed, job.keeps_model
        device = ray.train.torch.get_device()
        assert isinstance(device, torch.device)
        outcome = run_training(job.config, target, sources, job.weights, device, communicator, hooks)

    def write(folder: Path) -> None:
        if job.keeps_model:
            write_model(folder, outcome, job.config, target)
        write_result(folder, outcome, target)

    _report(histories, first, job.config.train.max_steps, write, final=True, writes=first)


def _hooks(
    job: TrainingJob, tasks: tuple[Task, list[Task]], histories: dict[str, History], first: bool
) -> Hooks:
    """What a worker does beside training: all report checkpoints, the first one tells the rest."""

    def checkpoint(state: TrainingState) -> None:
        _report(histories, first, state.step, state.save, final=False, writes=first or state.sharded)

    def of_member(name: str) -> Hooks:
        """What a further member of an average tells the driver."""
        run = f"{job.run}/{name}"
        return _telling(histories.setdefault(run, History(run, job.log)))

    history = histories[job.run]
    if not first:
        return Hooks(checkpoint=checkpoint, updates_of=_refreshing(job, tasks))
    hooks = _telling(history)
    hooks.checkpoint, hooks.of_member = checkpoint, of_member
    hooks.checkpoint_wanted = CheckpointRequest(job.log)

    def chosen(choice: Choice) -> None:
        if not any(
            isinstance(entry, StrategyChosen) for entry in history.entries
        ):  # of before it was stopped
            history.add(StrategyChosen(choice.to_dict(), str(choice)))

    hooks.on_choice = chosen
    told = {
        "on_report": lambda report: history.add(ScoresRefreshed(report)),
        "on_problem": lambda text: history.add(Warned(text)),
    }
    if job.workers is not None:
        hooks.updates = RefreshedWeights(job.workers, job.weights, **told)
    hooks.updates_of = _refreshing(job, tasks, **told)
    return hooks


def _refreshing(
    job: TrainingJob, tasks: tuple[Task, list[Task]], **told: Callable[[Any], None]
) -> Callable[[TaskModel], ShardedRefresh] | None:
    """How a model in parts is scored while it trains, if it is."""
    if job.config.ray.sharding is None or job.config.alignment.refresh_interval == 0:
        return None
    return lambda model: ShardedRefresh(model, job.config, *tasks, job.weights, **told)


def _telling(history: History) -> Hooks:
    """Tells the driver of steps, which are kept, and of rows, which are shown."""

    def predicted(done: int, total: int) -> None:
        history.log.tell(RowsPredicted(history.run, done, total))

    return Hooks(on_events=history.steps, on_evaluation=predicted)


def _is_final(stored: ray.train.Checkpoint, config: Config, first: bool) -> bool:
    """Whether the training had ended before it was stopped; then its result is reported once more."""
    with stored.as_directory() as folder:
        if not (Path(folder) / RESULT).exists():
            return False
        again = ray.train.Checkpoint.from_directory(folder) if first else None
        ray.train.report({"step": config.train.max_steps, "final": True}, checkpoint=again)
    return True


def _report(
    histories: Mapping[str, History],
    first: bool,
    step: int,
    write: Callable[[Path], None],
    *,
    final: bool,
    writes: bool,
) -> None:
    """Every worker reports; those that ``writes`` attach what ``write`` leaves in a folder, and worker 0 the histories.

    Worker 0 alone writes where all hold the same; of a sharded training each writes its part, and Ray Train puts them
    into one checkpoint. Histories are in it and not left to the driver's memory: see :mod:`.history`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = None
        if first:
            for history in histories.values():
                history.tell()
                history.log.require_driver()
        if writes:
            with told_where(scratch):
                write(Path(scratch))
                if first:
                    save_histories(Path(scratch), histories.values())
            checkpoint = ray.train.Checkpoint.from_directory(scratch)
        last = _last_step(histories.values()) if first else {}
        ray.train.report({**last, "step": step, "final": final}, checkpoint=checkpoint)


def _last_step(histories: Iterable[History]) -> Event:
    """Losses, throughput and whatever else is known of the last step that a training has told."""
    steps = [steps_of(history.entries) for history in histories]
    return next((dict(events[-1]) for events in reversed(steps) if events), {})


def write_model(folder: Path, outcome: Outcome, config: Config, target: Task) -> None:
    """Write the model of a finished training."""
    (folder / MODEL).mkdir()
    _save(outcome, folder / MODEL, config, target)


def write_result(folder: Path, outcome: Outcome, target: Task) -> None:
    """Write what the driver takes from a finished training beside the model: predictions, and last the counters."""
    if outcome.without_self_training is not None:
        assert isinstance(outcome.predictions, ArrayPredictions)
        other = replace(outcome.predictions, found=outcome.without_self_training)
        other.save(predictions_path(folder, target, WITHOUT))
    outcome.predictions.save(predictions_path(folder, target))
    (folder / RESULT).write_text(json.dumps(result_of(outcome)), encoding="utf-8")


def _save(outcome: Outcome, folder: Path, config: Config, target: Task) -> None:
    save_model(outcome.model, folder, base=config.model.path, target_head=target.head, fields=target.inputs)


def result_of(outcome: Outcome) -> dict[str, Any]:
    """Counters and final shares of a training, as written to result.json."""
    return {
        "skipped_steps": outcome.skipped_steps,
        "late_updates": outcome.late_updates,
        "trainable_parameters": outcome.trainable,
        "weights": outcome.weights,
    }


def device_of(config: Config) -> torch.device:
    """Where a training in one process of its own takes place."""
    return torch.device("cuda" if config.ray.gpus_per_worker > 0 else "cpu")


@dataclass(frozen=True)
class Alone:
    """What the training on the target alone came to."""

    predictions: Predictions
    result: dict[str, Any]
    history: Recorded


def train_alone(
    config: Config, target: Task, log: Log, place: StorageFolder | None, device: torch.device
) -> Alone:
    """Ordinary fine-tuning on the target alone, same seed and steps: what guidance has to beat.

    In one process; with ``ray.sharding`` in all of a group, of which the first one tells and writes.

    Args:
        place: where the model goes; None if it cannot become the run's own.
    """
    history, communicator = History(BASELINE, log), communicator_here()
    first = communicator.rank == 0
    hooks = _telling(history) if first else Hooks()
    outcome = run_training(plain(config), target, [], {}, device, communicator, hooks)
    if place is not None and first:
        with tempfile.TemporaryDirectory() as scratch:
            _save(outcome, Path(scratch), config, target)
            place.upload(Path(scratch))
    return Alone(outcome.predictions, result_of(outcome), history.whole())
