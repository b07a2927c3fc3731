"""The warm-up training of ``alignment.row_scores: less``: made once for a pool, kept beside the index of rows.

    <storage>/.row-index/<key>/checkpoints.npz

The key is a hash of the model's files and settings, of the warm-up's own, and of all sources' rows: a later target with
these sources finds the checkpoints, and with them the sources' shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sgg_ray.artifacts.files import replaced_file
from sgg_ray.config import Config
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Later
from sgg_ray.orchestration.score.pending_scores import answer, wait_for_all
from sgg_ray.orchestration.score.row_index import digest_of, index_key
from sgg_ray.orchestration.score.task_actor import TaskWorker
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.scoring import Checkpoint, shares_of_rates
from sgg_ray.tasks import Task
from sgg_ray.training import rows_to_warm_up

CHECKPOINTS = "checkpoints.npz"
WARM_UP_SECONDS = 24 * 3600  # a worker that dies is noticed at once


@dataclass(frozen=True)
class Warmup:
    """A warm-up training that is done.

    Attributes:
        key: equal only for vectors of rows that can be compared.
        rates: η_i of the checkpoints [K], summing to one.
        checkpoints: for workers to fetch.
    """

    key: str
    rates: np.ndarray
    checkpoints: Later[list[Checkpoint]]


def warmed_up(
    config: Config, sources: Sequence[Task], workers: TaskWorkers, folder: Path, listener: Listener
) -> Warmup:
    """The pool's warm-up training: read from the index, or made by a task worker.

    Args:
        sources: with all their rows.
        workers: that have loaded the model.
        folder: of the index.

    Raises:
        ClusterError: the worker does not answer.
        SggError: the training diverged.
    """
    settings = config.alignment.row_warmup
    pool = [index_key(config, source) for source in sources]
    key = digest_of([pool, settings.model_dump(exclude={"preconditioner"})])
    path = folder / key / CHECKPOINTS
    found = _read(path)
    if found is None:
        listener.stage("training on a share of the sources' rows")
        parts = rows_to_warm_up(sources, settings.share, config.seed)
        reference = workers.workers[workers.target.name].call(TaskWorker.warm_up, workers.rows, parts)
        wait_for_all(workers.executor, [reference], WARM_UP_SECONDS, "warm-up trainings", listener)
        found = answer(reference)
        _write(path, found)
    shared = Later(workers.executor.put(found))
    return Warmup(digest_of([key, settings.preconditioner]), shares_of_rates(found), shared)


def _write(path: Path, checkpoints: Sequence[Checkpoint]) -> None:
    names = [field.name for field in fields(Checkpoint)]
    found: dict[str, Any] = {
        f"{name}_{number}": np.asarray(getattr(one, name))
        for number, one in enumerate(checkpoints)
        for name in names
    }
    with replaced_file(path) as file:
        np.savez(file, count=np.array(len(checkpoints)), **found)


def _read(path: Path) -> list[Checkpoint] | None:
    """What :func:`_write` wrote; None where it is not there, or cannot be read: it is made again."""
    try:
        with np.load(path) as stored:
            return [
                Checkpoint(
                    stored[f"values_{number}"],
                    stored[f"momentum_{number}"],
                    stored[f"squares_{number}"],
                    int(stored[f"steps_{number}"]),
                    float(stored[f"rate_{number}"]),
                )
                for number in range(int(stored["count"]))
            ]
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
