"""Score every row of a pool: task workers fill the index, the driver reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.alignment import AlignmentReport
from sgg_ray.artifacts import RunFolder
from sgg_ray.artifacts.run_storage import is_uri, local_folder
from sgg_ray.config import Config
from sgg_ray.errors import ClusterError, ConfigError, TrainingError
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Actor, Reference
from sgg_ray.orchestration.score.pending_scores import answer
from sgg_ray.orchestration.score.pool_rows import without_rows
from sgg_ray.orchestration.score.row_index import (
    FACTS,
    FOLDER,
    Shard,
    ShardedVectors,
    read_facts,
    shards_of,
    write_facts,
    write_shard,
)
from sgg_ray.orchestration.score.row_warmup import Warmup, warmed_up
from sgg_ray.orchestration.score.task_actor import TaskWorker
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.scoring import WITH_LABELS, RowVectors, TaskRows, facts_of, score_rows
from sgg_ray.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

SHARD_SECONDS = 1800  # without any shard, after which workers are given up
AHEAD = 2  # calls that a worker has been asked for at a time: it never waits, and no more rows are with it
TOGETHER = (
    128  # shards that a worker with a GPU is asked for at once: it starts and ends once for all of them
)


def score_pool_rows(
    config: Config,
    target: Task,
    sources: Sequence[Task],
    workers: TaskWorkers,
    report: AlignmentReport,
    folder: RunFolder,
    listener: Listener,
) -> dict[str, TaskRows]:
    """Scores of every row of the target's shots and of all sources, by task name.

    Args:
        workers: that have loaded the model.
        report: scores of the sources: whose word counts, and who contradicts the target.
        folder: of the run, beside which the index is.

    Raises:
        ClusterError: workers do not answer.
        SggError: a row's gradient is not finite, or the shots are of one class.
    """
    vectors = pool_vectors(config, target, sources, workers, folder, listener)
    listener.stage("comparing rows")
    return compare_rows(config, vectors, report, workers.language_model)


def pool_vectors(
    config: Config,
    target: Task,
    sources: Sequence[Task],
    workers: TaskWorkers,
    folder: RunFolder,
    listener: Listener,
) -> list[RowVectors]:
    """What rows are scored from, of the target and each source: from the index, which workers fill where it has gaps.

    Raises:
        ClusterError: workers do not answer.
        SggError: a row's gradient is not finite.
    """
    tasks = [target, *sources]
    place = index_folder(config, folder)
    vectors = _stored(config, tasks, workers, place, listener)
    names = {task.name: _ask_names(workers, task) for task in tasks}
    found = [
        RowVectors(task, vectors[task.name], answer(names[task.name]))  # pyright: ignore[reportArgumentType]
        for task in tasks
    ]
    if config.alignment.row_scores == "less":
        warmup = warmed_up(config, sources, workers, place, listener)
        over = _stored(config, tasks, workers, place, listener, warmup)
        return [
            replace(own, trajectory=over[own.task.name], rates=warmup.rates)  # pyright: ignore[reportArgumentType]
            for own in found
        ]
    if workers.language_model:
        return found
    places = [shards_of(config, task, place)[0].path.with_name(FACTS) for task in sources]
    return [found[0], *(with_facts(own, path) for own, path in zip(found[1:], places))]


def _stored(
    config: Config,
    tasks: Sequence[Task],
    workers: TaskWorkers,
    place: Path,
    listener: Listener,
    warmup: Warmup | None = None,
) -> dict[str, ShardedVectors]:
    """The vectors of all rows of these tasks, by name: those that are in the index, and the others made now.

    Args:
        place: of the index.
        warmup: at whose checkpoints rows are compared; None at the model as loaded.
    """
    shards = {
        task.name: shards_of(config, task, place, "" if warmup is None else warmup.key) for task in tasks
    }
    missing = [shard for found in shards.values() for shard in found if not shard.path.is_file()]
    done = sum(map(len, shards.values())) - len(missing)
    stage = "scoring rows" if warmup is None else f"scoring rows at {len(warmup.rates)} checkpoints"
    listener.stage(stage if not done else f"{stage}, {done} shards from {place}")
    shared = not is_uri(config.ray.storage_path)
    _fill(workers, {task.name: task for task in tasks}, missing, shared, listener, warmup)
    return {name: ShardedVectors(found) for name, found in shards.items()}


def with_facts(own: RowVectors, path: Path) -> RowVectors:
    """The vectors with what is known of a source's rows whatever the target, from a file that is written if missing."""
    facts = read_facts(path)
    if facts is None:
        facts = facts_of(own)
        write_facts(path, facts)
    return replace(own, facts=facts)


def compare_rows(
    config: Config, vectors: Sequence[RowVectors], report: AlignmentReport, language_model: bool
) -> dict[str, TaskRows]:
    """Scores of rows from their vectors, those of the target's shots first.

    Raises:
        TrainingError: the shots are of one class.
    """
    try:
        return score_rows(
            vectors[0],
            vectors[1:],
            report.weights,
            {row.source for row in report.sources if row.verdict == "harmful"},
            language_model=language_model,
            share_labels=config.train.share_labels,
            ranked_by=config.alignment.row_scores,
            seed=config.seed,
        )
    except ValueError as error:
        raise TrainingError(f"target: {error}") from error


def weights_of_rows(sources: Sequence[Task], frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Weight of every row [n] in training, by source, as they were when rows were scored.

    Args:
        frame: columns task and weight of the table of these rows.
    """
    return {source.name: frame.loc[frame["task"] == source.name, "weight"].to_numpy() for source in sources}


def require_labels(target: Task) -> None:
    """Raise ConfigError if the target's rows have no single label, or completion, that could be wrong."""
    if target.kind not in WITH_LABELS:
        raise ConfigError(
            f"target.kind: scores of rows need one label a row, found {target.kind}; leave out --rows and "
            "alignment.row_weighting"
        )


def index_folder(config: Config, folder: RunFolder) -> Path:
    """Where the index of the configuration's storage is; behind a URI in the local copy of the storage."""
    storage = config.ray.storage_path
    return (folder.path.parent if is_uri(storage) else local_folder(storage)) / FOLDER


def _fill(
    workers: TaskWorkers,
    tasks: Mapping[str, Task],
    missing: Sequence[Shard],
    shared: bool,
    listener: Listener,
    warmup: Warmup | None,
) -> None:
    """Have the missing shards made.

    Workers are sent the rows of the shards that they are asked for, and no others.

    Args:
        tasks: with their rows, by name.
        shared: workers may write to the folder of the index; else they send the shards to this process.
    """
    actors = list({id(actor): actor for actor in workers.workers.values()}.values())
    quick = shared and workers.config.ray.gpus_per_task_worker > 0 and not workers.language_model
    waiting = deque(
        _groups(missing, min(TOGETHER, -(-len(missing) // (AHEAD * len(actors)))) if quick else 1)
    )
    asked: dict[Reference[Any], tuple[int, list[Shard]]] = {}
    busy = [0] * len(actors)
    total = sum(shard.stop - shard.start for shard in missing)
    finished = 0
    while waiting or asked:
        while waiting and min(busy) < AHEAD:
            number = busy.index(min(busy))
            shards = waiting.popleft()
            asked[_ask(actors[number], workers, tasks, shards, shared, warmup)] = number, shards
            busy[number] += 1
        done = workers.executor.wait(list(asked), seconds=SHARD_SECONDS)
        if not done:
            raise ClusterError(
                f"no rows scored within {SHARD_SECONDS} s; look at the cluster with 'ray status'"
            )
        for reference in done:
            number, shards = asked.pop(reference)
            busy[number] -= 1
            _store(shards, answer(reference))
            finished += shards[-1].stop - shards[0].start
            listener.advance(finished, total, "rows scored")


def _groups(missing: Sequence[Shard], most: int) -> Iterator[list[Shard]]:
    """Shards of one task that follow each other, at most ``most`` together."""
    group: list[Shard] = []
    for shard in missing:
        follows = group and shard.task == group[-1].task and shard.start == group[-1].stop
        if group and (not follows or len(group) == most):
            yield group
            group = []
        group.append(shard)
    if group:
        yield group


def _ask(
    actor: Actor[TaskWorker],
    workers: TaskWorkers,
    tasks: Mapping[str, Task],
    shards: Sequence[Shard],
    shared: bool,
    warmup: Warmup | None,
) -> Reference[list[np.ndarray | None]]:
    first, last = shards[0], shards[-1]
    first.path.parent.mkdir(parents=True, exist_ok=True)
    task = tasks[first.task]
    part = replace(without_rows(task), train=task.train.take(range(first.start, last.stop)))
    bounds = [(shard.start - first.start, shard.stop - first.start) for shard in shards]
    paths = [str(shard.path.resolve()) if shared else None for shard in shards]
    checkpoints = None if warmup is None else warmup.checkpoints
    return actor.call(TaskWorker.row_shards, workers.rows, part, bounds, paths, checkpoints)


def _store(shards: Sequence[Shard], answers: Sequence[np.ndarray | None]) -> None:
    for shard, vectors in zip(shards, answers):
        if vectors is not None:
            write_shard(shard.path, vectors)
        if not shard.path.is_file():
            raise ClusterError(
                f"ray.storage_path: {shard.path.parent} is not the same folder on every node; give a shared one"
            )


def _ask_names(workers: TaskWorkers, task: Task) -> Reference[Any]:
    return workers.workers[task.name].call(TaskWorker.label_names, workers.rows, task.name)
