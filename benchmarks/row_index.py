"""What the index of rows takes, and how long a new target asks it.

    python benchmarks/row_index.py --rows 1000000

Made-up features of ten sources in the product's shards, and the product's own code: shards mapped into memory, models
of the sources, scores of every row for a target of 32 shots, the table of scores. No model and no Ray, so nothing of
the forward passes, which are made once, nor of reading texts. Times are of one process; give it as many threads as it
shall use by OMP_NUM_THREADS. The floor is to read the shards and to multiply them with as many directions as a target
asks for.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sgg_ray.artifacts.row_table import write_rows
from sgg_ray.orchestration.score.row_index import FACTS, SHARD_ROWS, Shard, ShardedVectors, write_shard
from sgg_ray.orchestration.score.row_scoring import with_facts
from sgg_ray.scoring import RowVectors, TaskRows, score_rows
from sgg_ray.tasks import Rows, Task

LABELS = ("negative", "positive")
SOURCES, SHOTS = 10, 32
DIRECTIONS = 64  # products of a row: of gradients, shots and what ten sources say


def peak() -> float:
    """The most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def features(rows: int, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds that overlap, around what all texts share; one label in ten is wrong."""
    classes = random.integers(0, 2, rows)
    found = random.normal(size=(rows, width)).astype(np.float32)
    found[:, 0] += 2 * classes - 1
    wrong = random.random(rows) < 0.1
    return found + 1, np.where(wrong, 1 - classes, classes)


def task(name: str, labels: np.ndarray, role) -> Task:
    """A task of these rows, each with a text of its own."""
    rows = Rows(tuple(f"{name} {row}" for row in range(len(labels))), labels)
    return Task(name, LABELS, rows, Rows((), labels[:0]), role)


def write_source(folder: Path, name: str, rows: int, width: int, seed: int) -> tuple[Task, list[Shard]]:
    """A source's shards on disk, each written before the next is made up."""
    random, labels, shards = np.random.default_rng(seed), [], []
    for number, start in enumerate(range(0, rows, SHARD_ROWS)):
        stop = min(start + SHARD_ROWS, rows)
        vectors, own = features(stop - start, width, random)
        labels.append(own)
        shards.append(Shard(name, start, stop, folder / name / f"{number:05}.npy"))
        shards[-1].path.parent.mkdir(exist_ok=True)
        write_shard(shards[-1].path, vectors)
    return task(name, np.concatenate(labels), "source"), shards


def ask(written: list[tuple[Task, list[Shard]]], width: int, seed: int) -> dict[str, TaskRows]:
    """Scores of all rows for a new target."""
    vectors, labels = features(SHOTS, width, np.random.default_rng(seed))
    target = RowVectors(task("target", labels, "target"), vectors)
    sources = [
        with_facts(RowVectors(own, ShardedVectors(shards)), shards[0].path.with_name(FACTS))  # pyright: ignore[reportArgumentType]
        for own, shards in written
    ]
    found = score_rows(target, sources, {own.name: 1 / SOURCES for own, _ in written})
    assert all(len(one.wrong) == len(one.task.train) for one in found.values())
    return found


def floor(written: list[tuple[Task, list[Shard]]], width: int) -> None:
    """Read every shard and multiply it."""
    columns = np.random.default_rng(0).normal(size=(width, DIRECTIONS)).astype(np.float32)
    for _, shards in written:
        vectors = ShardedVectors(shards)
        for shard in shards:
            np.dot(vectors[shard.start : shard.stop], columns)


def timed(what: str, call: Callable[[], Any]) -> Any:
    """What ``call`` returns; its times and the most memory so far are printed."""
    before, started, cpu = peak(), time.perf_counter(), time.process_time()
    found = call()
    spent = f"{time.process_time() - cpu:.2f} s of CPU, {time.perf_counter() - started:.1f} s"
    print(f"{what}: {spent}; peak memory {before:.0f} -> {peak():.0f} MiB", flush=True)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--folder", type=Path, help="where the shards go for the time being")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        share = chosen.rows // SOURCES
        written = [
            write_source(Path(scratch), f"source{number}", share, chosen.width, number)
            for number in range(SOURCES)
        ]
        size = sum(path.stat().st_size for path in Path(scratch).rglob("*.npy"))
        print(f"{chosen.rows:,} rows: {size / chosen.rows:.0f} bytes a row on disk")
        timed("the first target", lambda: ask(written, chosen.width, 99))
        for again in range(2):
            timed("the floor", lambda: floor(written, chosen.width))
            found = timed("the next target", partial(ask, written, chosen.width, 100 + again))
        timed("its table", lambda: write_rows(Path(scratch, "rows.parquet"), found))


if __name__ == "__main__":
    main()
