"""Data-parallel training under Ray Train: the trainer, and what came of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray
import ray.train
from ray.exceptions import RayActorError
from ray.train.torch import TorchTrainer

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import Config
from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.runtime.executor import Inbox
from sgg_ray.orchestration.runtime.placement import own_placement_groups, remove_all
from sgg_ray.orchestration.runtime.ray_failures import from_ray
from sgg_ray.orchestration.runtime.ray_watch import ray_has_died
from sgg_ray.orchestration.runtime.worker_group import failures, fit_in_thread, has_ended, scaling
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.train.last_checkpoint import keep_checkpoint
from sgg_ray.orchestration.train.train_session import FAILED, POLL_SECONDS, Session
from sgg_ray.orchestration.train.train_state import (
    TRAIN_STATE,
    StoredCheckpoint,
    last_whole,
    stored_checkpoint,
)
from sgg_ray.orchestration.train.train_worker import TrainingJob, train_worker

MOST_RESTARTS = 2  # of a training whose controller has died


def make_trainer(job: TrainingJob, state: StorageFolder) -> TorchTrainer:
    """A trainer of ``ray.min_workers`` to ``ray.num_workers`` processes.

    It goes on from what an earlier one of the same ``state`` left.

    Args:
        job: what the workers do.
        state: Ray Train's own folder.
    """
    asked = job.config.ray
    return TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=scaling(asked),
        run_config=ray.train.RunConfig(
            name=state.name,
            storage_path=state.parent,
            storage_filesystem=state.filesystem,
            failure_config=failures(asked),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )


@contextmanager
def final_checkpoint(result: ray.train.Result) -> Iterator[Path]:
    """Folder with model, probabilities and counters of a training that has ended.

    Raises:
        SggError: what stopped it.
    """
    if result.error is not None:
        raise from_ray(result.error, result.path, FAILED)
    if result.return_value is not None:
        raise result.return_value
    if result.checkpoint is None:
        raise ClusterError(
            "training ended without a result; look at the workers' logs in Ray's session folder"
        )
    with result.checkpoint.as_directory() as folder:
        yield Path(folder)


def _say_where_it_goes_on(stop: BaseException, config: Config, last: StoredCheckpoint | None) -> None:
    """For the command's last line. Strategy auto has several trainings, each with steps of its own."""
    if config.train.method != "auto":
        stop.add_note(f"the same command goes on from step {last.step if last else 0}")


@contextmanager
def fit_with_ray_train(
    session: Session, weights: Mapping[str, float], workers: TaskWorkers | None, inbox: Inbox
) -> Iterator[Path]:
    """Fit in a thread while this one passes events on; gives the last checkpoint, see :func:`final_checkpoint`.

    Args:
        session: of the run.
        weights: of the sources in the mixture.
        workers: task workers that refresh the weights.
        inbox: where the training tells its steps.

    Raises:
        SggError: what stopped the training.
        KeyboardInterrupt: as it comes, once the training has kept a checkpoint if it could in time. A second one
            does not wait for that.
    """
    state = session.folder.state(TRAIN_STATE)
    tasks = ray.put((session.target, session.sources))
    restarts, others = 0, own_placement_groups()
    while True:
        whole = last_whole(state, session.listener)
        job = TrainingJob(session.config, tasks, weights, inbox.log, workers=workers, checkpoint=whole)
        try:
            result = _run(make_trainer(job, state), session, inbox)
            break
        except RayActorError as error:
            restarts += 1
            if restarts > MOST_RESTARTS or ray_has_died():
                raise from_ray(error, state.path, FAILED) from error
            session.listener.note("Ray Train's controller has died; going on from the last checkpoint")
            remove_all(own_placement_groups() - others)
    with final_checkpoint(result) as checkpoint:
        yield checkpoint


def _run(trainer: TorchTrainer, session: Session, inbox: Inbox) -> ray.train.Result:
    """Fit in a thread while this one passes events on.

    Raises:
        RayActorError: the controller has died, Ray Train's actor that starts and watches the workers.
        SggError: what stopped the training.
        KeyboardInterrupt: see :func:`fit_with_ray_train`.
    """
    state = session.folder.state(TRAIN_STATE)
    fitting = fit_in_thread(trainer)
    try:
        while not has_ended(fitting, POLL_SECONDS):
            session.pass_on(inbox)
        session.pass_on(inbox)
    except KeyboardInterrupt as stop:
        if not ray_has_died():
            keep_checkpoint(session, inbox, lambda: stored_checkpoint(state), lambda: not fitting.done())
            _say_where_it_goes_on(stop, session.config, stored_checkpoint(state))
        raise
    error = fitting.exception()
    if isinstance(error, RayActorError):
        raise error
    if error is not None:
        raise from_ray(error, state.path, FAILED)
    return fitting.result()
