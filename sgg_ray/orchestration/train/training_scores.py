"""The scores that a training mixes its sources by, and the weights of their rows."""

from dataclasses import replace

import numpy as np
import pandas as pd

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts.row_table import read_rows
from sgg_ray.orchestration.score.row_scoring import score_pool_rows, weights_of_rows
from sgg_ray.orchestration.score.score_driver import (
    SCORES,
    record_report,
    record_rows,
    stored_report,
    write_report,
)
from sgg_ray.orchestration.score.sharded_scores import score_in_parts
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.scoring import with_weights

WEIGHTS = ("task", "weight")  # columns of the table of rows


def score_for_training(session: Session) -> tuple[TaskWorkers | None, AlignmentReport | None]:
    """Scores of this run, from before if it was resumed; and the workers, if they are needed later on."""
    config, folder, listener = session.config, session.folder, session.listener
    if not session.sources:
        return None, None
    stored = folder.path / SCORES
    refreshed = config.alignment.refresh_interval > 0 and config.ray.sharding is None  # by task workers
    if stored.exists() and not refreshed:
        listener.note(f"scores from {stored}: resuming this run")
        if config.alignment.row_weighting != "none":
            _weigh_rows(session, read_rows(folder.path, WEIGHTS))
        return None, stored_report(folder)
    if config.ray.sharding is not None:
        report = score_in_parts(config, session.target, session.sources, folder, listener, session.executor)
        _record(session, report)
        return None, report
    listener.stage("loading the model in the task workers")
    workers = TaskWorkers.start(config, session.target, session.sources, listener, session.executor)
    try:
        listener.stage("scoring the sources")
        report = workers.score(listener=listener)
        if config.alignment.row_weighting != "none":
            workers, report = _score_rows(session, workers, report)
    except BaseException:
        workers.close()
        raise
    _record(session, report)
    if not refreshed:
        workers.close()  # their memory is worth more to the training
        return None, report
    return workers, report


def _record(session: Session, report: AlignmentReport) -> None:
    write_report(session.folder, report)
    record_report(session.tracker, session.folder, report)
    session.listener.scores(report)


def _score_rows(
    session: Session, workers: TaskWorkers, report: AlignmentReport
) -> tuple[TaskWorkers, AlignmentReport]:
    """Score every row, weigh the sources' rows, and score the sources anew as what is left of them."""
    config, folder, listener = session.config, session.folder, session.listener
    sources = session.sources
    found = score_pool_rows(config, session.target, sources, workers, report, folder, listener)
    record_rows(config, found, folder, session.tracker)
    weights = _weigh_rows(session, read_rows(folder.path, WEIGHTS))
    kept = {name: np.flatnonzero(own > 0) for name, own in weights.items()}
    workers = replace(workers, kept=kept)
    listener.stage("scoring the sources without the rows left out")
    return workers, workers.score(listener=listener)


def _weigh_rows(session: Session, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Give the session's sources their rows' weights: a function of what is written, so that a resume has the same."""
    weights = weights_of_rows(session.sources, frame)
    for source in session.sources:
        left = int((weights[source.name] == 0).sum())
        if left:
            session.listener.note(f"{source.name}: {left:,} of {len(source.train):,} rows left out")
    session.sources = with_weights(session.sources, weights)
    return weights
