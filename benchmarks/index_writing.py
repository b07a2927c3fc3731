"""How fast the index of rows is written, next to the encoder's forward passes alone.

    python benchmarks/index_writing.py MODEL --rows 1000000 --precision bfloat16

Made-up texts that fill 32 tokens. The forward passes have their batches on the device already, the same sizes; the
index has texts, and leaves shards on disk by the task worker's own method, called as the driver calls it without Ray.
Both take turns, several times; the share is the rate of the index over that of the passes. ``--without-passes`` leaves
out the passes, and tells what all else takes.
"""

import argparse
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.score.pool_rows import PoolRows
from sgg_ray.orchestration.score.row_index import SHARD_ROWS
from sgg_ray.orchestration.score.row_scoring import TOGETHER
from sgg_ray.orchestration.score.task_actor import TaskWorker
from sgg_ray.scoring.feature_stream import batches_of, feature_stretches
from sgg_ray.tasks import Rows, Task

TOKENS = 32
WORDS = "the of a film good bad movie story nice price service phone screen great people because some very well done"
LABELS = ("negative", "positive")


def texts(count: int, seed: int) -> tuple[str, ...]:
    """Texts of more words than are kept."""
    draw, words = random.Random(seed), WORDS.split()
    lines = [" ".join(draw.choices(words, k=TOKENS + 2)) for _ in range(4096)]
    return tuple(f"{lines[row % len(lines)]} {row}" for row in range(count))


def part(own: tuple[str, ...]) -> Task:
    """A source of these rows."""
    labels = np.arange(len(own)) % 2
    return Task("source", LABELS, Rows(own, labels), Rows((), labels[:0]), "source")


def forward(worker: TaskWorker, task: Task, rows: int) -> float:
    """Rows a second of forward passes alone."""
    model = worker.summariser.model
    tokens = model.tokenise(task, task.train)
    on_gpu = model.device.type == "cuda"
    batches = [model.collate([(tokens, int(row)) for row in rows]) for rows in batches_of(tokens, on_gpu)]
    with torch.no_grad():
        for batch in batches[:2]:
            model.features(batch)
        finish(model.device)
        started, done = time.perf_counter(), 0
        while done < rows:
            for batch in batches:
                model.features(batch)
                done += len(batch)
        finish(model.device)
    return done / (time.perf_counter() - started)


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def index(worker: TaskWorker, pool: PoolRows, task: Task, folder: Path) -> float:
    """Rows a second of the index: from texts to shards."""
    started, number = time.perf_counter(), 0
    while number * SHARD_ROWS < len(task.train):
        start = number * SHARD_ROWS
        stop = min(start + TOGETHER * SHARD_ROWS, len(task.train))
        own = part(task.train.texts[start:stop])
        bounds = [(one, min(one + SHARD_ROWS, stop - start)) for one in range(0, stop - start, SHARD_ROWS)]
        paths = [str(folder / f"{number + one:05}.npy") for one in range(len(bounds))]
        assert worker.row_shards(pool, own, bounds, paths) == [None] * len(bounds)
        number += len(bounds)
    return len(task.train) / (time.perf_counter() - started)


def stages(worker: TaskWorker, task: Task) -> str:
    """What a row takes of one thread, in µs, stage by stage."""
    model, rows = worker.summariser.model, len(task.train)
    started = time.perf_counter()
    tokens = model.tokenise(task, task.train)
    tokenised = time.perf_counter()
    for start in range(0, rows, SHARD_ROWS):
        model.collate([(tokens, row) for row in range(start, min(start + SHARD_ROWS, rows))])
    finish(model.device)
    collated = time.perf_counter()
    bounds = [(start, min(start + SHARD_ROWS, rows)) for start in range(0, rows, SHARD_ROWS)]
    for _ in feature_stretches(model, task, bounds):
        pass
    streamed = time.perf_counter()
    spent = (tokenised - started, collated - tokenised, streamed - collated)
    return "tokenised {:.1f}, collated {:.1f}, streamed without files {:.1f}".format(
        *(1e6 * one / rows for one in spent)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-passes", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the shards go for the time being")
    chosen = parser.parse_args()
    source = {"name": "source", "path": "-"}
    config = Config.model_validate(
        {
            "name": "benchmark",
            "model": {"path": chosen.model, "precision": chosen.precision},
            "target": {"path": "-", "shots": 2},
            "sources": [source],
            "train": {"max_length": TOKENS},
            "ray": {"gpus_per_task_worker": int(torch.cuda.is_available())},
        }
    )
    task = part(texts(chosen.rows, 0))
    target = Task("target", LABELS, task.train.take(range(4)), task.test, "target")
    pool = PoolRows.put(InProcessExecutor(), [target, task])
    worker = TaskWorker(config)
    worker.load(pool)
    worker.summariser.model.eval()
    if chosen.without_passes:
        model = worker.summariser.model
        model.features = lambda batch: torch.zeros(len(batch), model.width)
    few = part(task.train.texts[: 8 * SHARD_ROWS])
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        index(worker, pool, few, Path(scratch))
        print(f"µs a row: {stages(worker, few)}")
        shares = []
        for _ in range(chosen.rounds):
            if chosen.without_passes:
                cpu = time.process_time()
                found = index(worker, pool, task, Path(scratch))
                cpu = 1e6 * (time.process_time() - cpu) / chosen.rows
                print(
                    f"{chosen.rows:,} rows without passes: {found:,.0f} rows/s, {cpu:.1f} µs of CPU time a row"
                )
                continue
            bare = forward(worker, few, chosen.rows)
            found = index(worker, pool, task, Path(scratch))
            shares.append(found / bare)
            print(
                f"{chosen.rows:,} rows, {chosen.precision}: passes {bare:,.0f} rows/s, index {found:,.0f} rows/s"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if shares:
        print(f"share {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})")
    print(f"peak memory {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
