"""`sgg train`: score, fine-tune under Ray Train, compare with the target alone, leave everything in a run folder."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sgg_ray.artifacts import RunFolder, StorageFolder
from sgg_ray.config import Config, RayConfig
from sgg_ray.errors import DataError
from sgg_ray.evaluation import BASELINE, GUIDED
from sgg_ray.orchestration.lifecycle import begin_run, read_tasks, recorded
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.capacity import check_capacity, in_all
from sgg_ray.orchestration.runtime.cluster import opened
from sgg_ray.orchestration.runtime.event_log import Log
from sgg_ray.orchestration.runtime.executor import Executor, Inbox, Reference, Resources
from sgg_ray.orchestration.score.row_scoring import require_labels
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.train.held_out import cross_validated, judge_on_held_out, replace_folder
from sgg_ray.orchestration.train.held_out_trainings import RETRIES, usable_folds
from sgg_ray.orchestration.train.history import saved_histories
from sgg_ray.orchestration.train.torch_trainer import fit_with_ray_train
from sgg_ray.orchestration.train.train_result import TrainResult, evaluate, write_results
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.orchestration.train.train_state import TRAIN_STATE, check_resumable
from sgg_ray.orchestration.train.train_worker import (
    ALONE_STATE,
    BASELINE_STATE,
    MODEL,
    RESULT,
    WITHOUT,
    Alone,
    device_of,
    train_alone,
)
from sgg_ray.orchestration.train.training_scores import score_for_training
from sgg_ray.tasks import Task
from sgg_ray.training import Predictions, TimeEstimate, estimate_time, load_predictions, predictions_path

# Trains data-parallel with these weights, task workers that refresh them, and an inbox; gives a folder with model,
# predictions, counters and histories.
Fit = Callable[[Session, dict[str, float], TaskWorkers | None, Inbox], AbstractContextManager[Path]]


def prepare_training(config: Config, listener: Listener) -> tuple[Task, list[Task]]:
    """Everything that can be checked before a training starts, or goes on.

    Raises:
        SggError: bad input (exit 2).
    """
    folder = RunFolder(config.ray.storage_path, config.name)
    resumes = folder.check(config)
    target, sources = read_tasks(config, listener)
    if config.alignment.row_weighting != "none":
        require_labels(target)
    if config.target.test.is_none and not usable_folds(config, target):
        raise DataError(
            "target.test: without test rows quality is estimated on held-out shots, but no class has two shots; raise "
            "target.shots, or give test.fraction or test.path"
        )
    if resumes:
        check_resumable(folder, fingerprint([target, *sources]))
    return target, sources


def estimate_run(config: Config, target: Task) -> TimeEstimate | None:
    """How long the run's trainings will take, those for calibration counted in; None where that is not known."""
    return estimate_time(config, target, len(usable_folds(config, target)))


def train(
    config: Config,
    listener: Listener | None = None,
    executor: Executor | None = None,
    fit: Fit = fit_with_ray_train,
) -> TrainResult:
    """Fine-tune on the target with the scored mixture of sources and guidance, and evaluate on the whole test split.

    A run that was killed goes on under the same name: scores, the finished baseline and the last checkpoint are kept.

    Args:
        executor: what runs task workers, baseline and held-out trainings; Ray, as ``ray`` in the configuration says,
            unless given.
        fit: what runs the training itself.

    Raises:
        SggError: bad input (exit 2) before anything starts; a failing cluster or training (exit 1) later.
    """
    listener = listener or NullListener()
    folder = RunFolder(config.ray.storage_path, config.name)
    target, sources = prepare_training(config, listener)
    _tell_time(config, folder, target, listener)
    tasks = [target, *sources]
    with opened(config.ray, listener, executor) as executor:
        check_capacity(config, executor)
        tracker = begin_run(config, folder, "train", fingerprint(tasks), listener, tasks)
        with recorded(folder, tracker):
            return _train(Session(config, target, sources, folder, tracker, listener, executor), fit)


def _tell_time(config: Config, folder: RunFolder, target: Task, listener: Listener) -> None:
    """How long a new run will take, if it trains on this machine's CPU: a step elsewhere cannot be timed here."""
    if config.ray.address != "local" or config.ray.gpus_per_worker > 0 or folder.check(config):
        return
    listener.stage("timing a step")
    if estimate := estimate_run(config, target):
        listener.note(f"takes {estimate}")


def _train(session: Session, fit: Fit) -> TrainResult:
    config, folder = session.config, session.folder
    workers, report = score_for_training(session)
    try:
        weights = report.weights if report else {}
        if report and not any(weights.values()) and config.alignment.weighting != "none":
            session.listener.note("no source is usable; training on the target alone, with guidance")
        baseline = _fit(session, weights, workers, fit)
    finally:
        if workers is not None:
            workers.close()
    judge_on_held_out(session, weights)
    predictions_path(folder.path, session.target, WITHOUT).unlink(missing_ok=True)
    session.listener.stage("writing the report")
    guided = load_predictions(predictions_path(folder.path, session.target), session.target)
    if config.target.test.is_none:
        guided, baseline = cross_validated(session)
    result = evaluate(session, guided, baseline, report)
    write_results(session, baseline if baseline and result.model == BASELINE else guided, result)
    if session.event_files is not None:
        session.event_files.close()
    folder.finish()
    session.tracker.finish()
    for state in (TRAIN_STATE, ALONE_STATE, BASELINE_STATE):
        folder.state(state).delete()
    return result


def _fit(
    session: Session, weights: dict[str, float], workers: TaskWorkers | None, fit: Fit
) -> Predictions | None:
    """Run the training, and the baseline beside it if there is room, else after it; returns the baseline's."""
    config, folder, listener = session.config, session.folder, session.listener
    inbox = session.executor.inbox()
    path = predictions_path(folder.path, session.target)
    stored = predictions_path(folder.path, session.target, "baseline_")
    wanted = config.train.baseline and not stored.exists()
    for run, ended in ((GUIDED, path.exists()), (BASELINE, stored.exists())):
        if ended:
            session.recall(run)
    sharded = config.ray.sharding is not None
    both = wanted and not sharded and _room_for_both(session, workers)
    pending = _start_baseline(session, inbox.log) if both else None
    beside = " beside the target-only baseline" if pending is not None else ""
    listener.stage(f"training, {_workers(config.ray)}{beside}")
    try:
        if not path.exists():
            with fit(session, weights, workers, inbox) as finished:
                for history in saved_histories(finished).values():
                    session.complete(history)
                _take_over(finished, folder, session.target)
        if wanted:
            if pending is None:
                listener.stage("training the target-only baseline")
                pending = None if sharded else _start_baseline(session, inbox.log)
            alone = session.wait_for(inbox, pending) if pending else _baseline_in_parts(session, inbox)
            session.complete(alone.history)
            alone.predictions.save(stored)  # last: it says that the baseline is finished
    except BaseException:
        # Keeps what was told so far, and makes training workers stop before their next checkpoint.
        session.close(inbox)
        if pending is not None:
            session.executor.cancel(pending)
        raise
    return load_predictions(stored, session.target) if stored.exists() else None


def _workers(asked: RayConfig) -> str:
    fewest, most = asked.fewest_workers, asked.num_workers
    return f"{most} worker{'s' * (most > 1)}" if fewest == most else f"{fewest} to {most} workers"


def _start_baseline(session: Session, log: Log) -> Reference[Alone]:
    config = session.config
    resources = Resources(config.ray.cpus_per_worker, config.ray.gpus_per_worker)
    arguments = (config, session.target, log, _place_of_baseline(session), device_of(config))
    return session.executor.submit(train_alone, *arguments, resources=resources, retries=RETRIES)


def _baseline_in_parts(session: Session, inbox: Inbox) -> Alone:
    """The baseline of a sharded model, in the workers of the training, which have ended."""
    return session.executor.together(
        train_alone,
        session.config,
        session.target,
        inbox.log,
        _place_of_baseline(session),
        asked=session.config.ray,
        state=session.folder.state(ALONE_STATE),
        meanwhile=lambda: session.pass_on(inbox),
    )


def _place_of_baseline(session: Session) -> StorageFolder | None:
    """Where the baseline's model goes; nowhere where nothing can choose it."""
    return session.folder.state(BASELINE_STATE) if usable_folds(session.config, session.target) else None


def _room_for_both(session: Session, workers: TaskWorkers | None) -> bool:
    """Whether the cluster holds one process more than the training workers (and the task workers that stay)."""
    cluster, asked = in_all(session.executor), session.config.ray
    tasks = len(set(map(id, workers.workers.values()))) if workers else 0
    trainings = asked.num_workers + 1
    cpus = trainings * asked.cpus_per_worker + tasks * asked.cpus_per_task_worker
    gpus = trainings * asked.gpus_per_worker + tasks * asked.gpus_per_task_worker
    return cpus <= cluster.cpus and gpus <= cluster.gpus


def _take_over(checkpoint: Path, folder: RunFolder, target: Task) -> None:
    """Copy model and results into the run folder; the predictions come last and mark the copy as complete."""
    model = folder.path / MODEL
    part = folder.path / f".{MODEL}.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(checkpoint / MODEL, part)
    replace_folder(part, model)
    folder.write_text(RESULT, (checkpoint / RESULT).read_text(encoding="utf-8"))
    without = predictions_path(checkpoint, target, WITHOUT)
    if without.exists():
        load_predictions(without, target).save(predictions_path(folder.path, target, WITHOUT))
    predictions = load_predictions(predictions_path(checkpoint, target), target)
    predictions.save(predictions_path(folder.path, target))
