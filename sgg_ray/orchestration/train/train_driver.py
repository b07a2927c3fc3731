"""`sgg train`: score, fine-tune under Ray Train, compare with the target alone, leave everything in a run folder."""

import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from ray.exceptions import RayError

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts import RunFolder
from sgg_ray.artifacts.row_table import read_rows
from sgg_ray.config import Config
from sgg_ray.evaluation import BASELINE, GUIDED
from sgg_ray.orchestration.lifecycle import begin_run, read_tasks, recorded
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.cluster import check_capacity, connected, grow
from sgg_ray.orchestration.runtime.event_log import EventLogHandle, Inbox
from sgg_ray.orchestration.score.row_scoring import require_labels, score_pool_rows, weights_of_rows
from sgg_ray.orchestration.score.score_driver import (
    SCORES,
    record_report,
    record_rows,
    stored_report,
    write_report,
)
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.train.held_out import cross_validated, judge_on_held_out, replace_folder
from sgg_ray.orchestration.train.held_out_trainings import usable_folds
from sgg_ray.orchestration.train.history import saved_histories
from sgg_ray.orchestration.train.torch_trainer import (
    POLL_SECONDS,
    as_sgg_error,
    final_checkpoint,
    make_trainer,
    wait_for,
)
from sgg_ray.orchestration.train.train_result import TrainResult, evaluate, write_results
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.orchestration.train.train_state import TRAIN_STATE, check_resumable, last_whole
from sgg_ray.orchestration.train.train_worker import (
    BASELINE_STATE,
    MODEL,
    RESULT,
    Alone,
    TrainingJob,
    train_alone,
)
from sgg_ray.tasks import Task
from sgg_ray.training import Predictions, TimeEstimate, estimate_time, load_predictions, predictions_path


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
    if resumes:
        check_resumable(folder, fingerprint([target, *sources]))
    return target, sources


def estimate_run(config: Config, target: Task) -> TimeEstimate | None:
    """How long the run's trainings will take, those for calibration counted in; None where that is not known."""
    return estimate_time(config, target, len(usable_folds(config, target)))


def train(config: Config, listener: Listener | None = None) -> TrainResult:
    """Fine-tune on the target with the scored mixture of sources and guidance, and evaluate on the whole test split.

    A run that was killed goes on under the same name: scores, the finished baseline and the last checkpoint are kept.

    Raises:
        SggError: bad input (exit 2) before anything starts; a failing cluster or training (exit 1) later.
    """
    listener = listener or NullListener()
    folder = RunFolder(config.ray.storage_path, config.name)
    target, sources = prepare_training(config, listener)
    listener.stage("starting Ray")
    with connected(config.ray):
        grow(config.ray, listener)
        check_capacity(config)
        tracker = begin_run(
            config, folder, "train", fingerprint([target, *sources]), listener, [target, *sources]
        )
        with recorded(folder, tracker):
            return _train(Session(config, target, sources, folder, tracker, listener))


def _train(session: Session) -> TrainResult:
    config, folder = session.config, session.folder
    exchange, report = _scores(session)
    try:
        weights = report.weights if report else {}
        if report and not any(weights.values()) and config.alignment.weighting != "none":
            session.listener.note("no source is usable; training on the target alone, with guidance")
        baseline = _fit(session, weights, exchange)
    finally:
        if exchange is not None:
            exchange.close()
    judge_on_held_out(session, weights)
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
    for state in (TRAIN_STATE, BASELINE_STATE):
        folder.state(state).delete()
    return result


def _scores(session: Session) -> tuple[TaskWorkers | None, AlignmentReport | None]:
    """Scores of this run, from before if it was resumed; and the workers, if they are needed later on."""
    config, folder, listener = session.config, session.folder, session.listener
    if not session.sources:
        return None, None
    stored = folder.path / SCORES
    refreshed = config.alignment.refresh_interval > 0
    if stored.exists() and not refreshed:
        listener.note(f"scores from {stored}: resuming this run")
        if config.alignment.row_weighting != "none":
            _weigh_rows(session, read_rows(folder.path))
        return None, stored_report(folder)
    listener.stage("loading the model in the task workers")
    exchange = TaskWorkers.start(config, session.target, session.sources, listener)
    try:
        listener.stage("scoring the sources")
        report = exchange.score(listener=listener)
        if config.alignment.row_weighting != "none":
            exchange, report = _score_rows(session, exchange, report)
    except BaseException:
        exchange.close()
        raise
    write_report(folder, report)
    record_report(session.tracker, folder, report)
    listener.scores(report)
    if not refreshed:
        exchange.close()  # their memory is worth more to the training
        return None, report
    return exchange, report


def _score_rows(
    session: Session, exchange: TaskWorkers, report: AlignmentReport
) -> tuple[TaskWorkers, AlignmentReport]:
    """Score every row, weigh the sources' rows, and score the sources anew as what is left of them."""
    config, folder, listener = session.config, session.folder, session.listener
    sources = session.sources
    found = score_pool_rows(config, session.target, sources, exchange, report, folder, listener)
    record_rows(config, found, folder, session.tracker)
    weights = _weigh_rows(session, read_rows(folder.path))
    kept = {name: np.flatnonzero(own > 0) for name, own in weights.items()}
    exchange = replace(exchange, kept=kept)
    listener.stage("scoring the sources without the rows left out")
    return exchange, exchange.score(listener=listener)


def _weigh_rows(session: Session, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Give the session's sources their rows' weights: a function of what is written, so that a resume has the same."""
    weights = weights_of_rows(session.config, session.sources, frame)
    for source in session.sources:
        left = int((weights[source.name] == 0).sum())
        if left:
            session.listener.note(f"{source.name}: {left:,} of {len(source.train):,} rows left out")
    session.sources = [
        replace(source, train=source.train.weighted(weights[source.name])) for source in session.sources
    ]
    return weights


def _fit(session: Session, weights: dict[str, float], exchange: TaskWorkers | None) -> Predictions | None:
    """Run Ray Train, and the baseline beside it if there is room, else after it; return what the baseline predicts."""
    config, folder, listener = session.config, session.folder, session.listener
    inbox = Inbox()
    path = predictions_path(folder.path, session.target)
    stored = predictions_path(folder.path, session.target, "baseline_")
    wanted = config.train.baseline and not stored.exists()
    for run, ended in ((GUIDED, path.exists()), (BASELINE, stored.exists())):
        if ended:
            session.recall(run)
    pending = _start_baseline(session, inbox.log) if wanted and _room_for_both(config, exchange) else None
    beside = " beside the target-only baseline" if pending is not None else ""
    listener.stage(f"training, {config.ray.num_workers} worker{'s' * (config.ray.num_workers > 1)}{beside}")
    try:
        if not path.exists():
            _run_ray_train(session, weights, exchange, inbox)
        if wanted:
            if pending is None:
                listener.stage("training the target-only baseline")
                pending = _start_baseline(session, inbox.log)
            alone: Alone = wait_for(session, inbox, pending)
            session.complete(alone.history)
            alone.predictions.save(stored)  # last: it says that the baseline is finished
    except BaseException:
        # Keeps what was told so far, and makes training workers stop before their next checkpoint.
        session.close(inbox)
        with suppress(RayError):
            if pending is not None:
                ray.cancel(pending, force=True)
        raise
    return load_predictions(stored, session.target) if stored.exists() else None


def _start_baseline(session: Session, log: EventLogHandle) -> ray.ObjectRef:
    config = session.config
    options = {"num_cpus": config.ray.cpus_per_worker, "num_gpus": config.ray.gpus_per_worker}
    place = session.folder.state(BASELINE_STATE) if usable_folds(config, session.target) else None
    return train_alone.options(**options).remote(config, session.target, log, place)


def _room_for_both(config: Config, exchange: TaskWorkers | None) -> bool:
    """Whether the cluster holds one process more than the training workers (and the task workers that stay)."""
    resources, asked = ray.cluster_resources(), config.ray
    tasks = len(set(map(id, exchange.workers.values()))) if exchange else 0
    processes = asked.num_workers + 1
    return processes * asked.cpus_per_worker + tasks * asked.cpus_per_task_worker <= resources.get(
        "CPU", 0
    ) and processes * asked.gpus_per_worker + tasks * asked.gpus_per_task_worker <= resources.get("GPU", 0)


def _run_ray_train(
    session: Session, weights: dict[str, float], exchange: TaskWorkers | None, inbox: Inbox
) -> None:
    """Fit in a thread while this one passes events on; then take the model out of the last checkpoint."""
    config, folder = session.config, session.folder
    tasks, state = ray.put((session.target, session.sources)), folder.state(TRAIN_STATE)
    whole = last_whole(state, session.listener)
    job = TrainingJob(config, tasks, weights, inbox.log, workers=exchange, checkpoint=whole)
    trainer = make_trainer(job, state)
    box: dict[str, Any] = {}

    def fit() -> None:
        try:
            box["result"] = trainer.fit()
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        session.pass_on(inbox)
    session.pass_on(inbox)
    if "error" in box:
        raise as_sgg_error(box["error"], state.path)
    with final_checkpoint(box["result"]) as checkpoint:
        for history in saved_histories(checkpoint).values():
            session.complete(history)
        _take_over(checkpoint, folder, session.target)


def _take_over(checkpoint: Path, folder: RunFolder, target: Task) -> None:
    """Copy model and results into the run folder; the predictions come last and mark the copy as complete."""
    model = folder.path / MODEL
    part = folder.path / f".{MODEL}.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(checkpoint / MODEL, part)
    replace_folder(part, model)
    folder.write_text(RESULT, (checkpoint / RESULT).read_text(encoding="utf-8"))
    predictions = load_predictions(predictions_path(checkpoint, target), target)
    predictions.save(predictions_path(folder.path, target))
