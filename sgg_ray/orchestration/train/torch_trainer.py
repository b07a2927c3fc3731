"""Data-parallel training under Ray Train: the trainer, and what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.exceptions import OutOfMemoryError
from ray.train.torch import TorchTrainer

from sgg_ray.artifacts import StorageFolder
from sgg_ray.errors import ClusterError, SggError, in_words, machine_error
from sgg_ray.orchestration.runtime.event_log import Inbox
from sgg_ray.orchestration.runtime.ray_failures import out_of_memory
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.orchestration.train.train_worker import TrainingJob, train_worker

POLL_SECONDS = 0.5


def make_trainer(job: TrainingJob, state: StorageFolder) -> TorchTrainer:
    """A trainer of ``ray.num_workers`` processes. It goes on from what an earlier one of the same ``state`` left.

    Args:
        job: what the workers do.
        state: Ray Train's own folder.
    """
    asked = job.config.ray
    return TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=ray.train.ScalingConfig(
            num_workers=asked.num_workers,
            use_gpu=asked.gpus_per_worker > 0,
            resources_per_worker={
                "CPU": asked.cpus_per_worker,
                **({"GPU": asked.gpus_per_worker} if asked.gpus_per_worker > 0 else {}),
            },
        ),
        run_config=ray.train.RunConfig(
            name=state.name,
            storage_path=state.parent,
            storage_filesystem=state.filesystem,
            failure_config=ray.train.FailureConfig(
                max_failures=asked.max_failures, controller_failure_limit=3
            ),
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
        raise as_sgg_error(result.error, result.path)
    if result.return_value is not None:
        raise result.return_value
    if result.checkpoint is None:
        raise ClusterError(
            "training ended without a result; look at the workers' logs in Ray's session folder"
        )
    with result.checkpoint.as_directory() as folder:
        yield Path(folder)


def wait_for(session: Session, inbox: Inbox, reference: ray.ObjectRef) -> Any:
    """Wait for what a training in a Ray task comes to, passing on what it tells.

    Raises:
        SggError: what stopped it.
    """
    while True:
        done, _ = ray.wait([reference], timeout=POLL_SECONDS)
        session.pass_on(inbox)
        if done:
            try:
                return ray.get(reference)
            except Exception as error:
                raise as_sgg_error(error) from error


def as_sgg_error(error: BaseException, place: str | None = None) -> SggError:
    """What really went wrong, out of Ray's wrappers; at ``place`` unless the system named another."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SggError):
            return seen
        if isinstance(seen, OutOfMemoryError):
            return ClusterError(out_of_memory(str(seen)))
        for failures in (
            getattr(seen, "worker_failures", None),
            getattr(seen, "training_failed_error", None),
        ):
            for inner in failures.values() if isinstance(failures, dict) else [failures]:
                found = (
                    as_sgg_error(inner, place)
                    if isinstance(inner, BaseException) and inner is not seen
                    else None
                )
                if found is not None and not isinstance(found, ClusterError):
                    return found
        seen = getattr(seen, "cause", None) or seen.__cause__
    if said := machine_error(error):
        said.filename = said.filename or place
        return ClusterError(f"training failed: {in_words(said)}")
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return ClusterError(f"training failed: {lines[-1].strip() if lines else type(error).__name__}")
