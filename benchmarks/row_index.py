"""What the index of rows takes, and how long a new target asks it.

    python benchmarks/row_index.py --rows 1000000

Made-up features of ten sources in the product's shards, and the product's own code: shards mapped into memory, models
of the sources, scores of every row for a target of 32 shots. No model and no Ray, so nothing of the forward passes,
which are made once, nor of reading texts. Times are of one process; give it as many threads as it shall use by
OMP_NUM_THREADS.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from sgg_ray.orchestration.score.row_index import FACTS, SHARD_ROWS, Shard, ShardedVectors, write_shard
from sgg_ray.orchestration.score.row_scoring import with_facts
from sgg_ray.scoring import RowVectors, score_rows
from sgg_ray.tasks import Rows, Task

LABELS = ("negative", "positive")
SOURCES, SHOTS = 10, 32


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
        for number in range(2):
            before, started, cpu = peak(), time.perf_counter(), time.process_time()
            vectors, labels = features(SHOTS, chosen.width, np.random.default_rng(99 + number))
            target = RowVectors(task("target", labels, "target"), vectors)
            sources = [
                with_facts(RowVectors(own, ShardedVectors(shards)), shards[0].path.with_name(FACTS))  # pyright: ignore[reportArgumentType]
                for own, shards in written
            ]
            found = score_rows(target, sources, {own.name: 1 / SOURCES for own, _ in written})
            assert all(len(one.wrong) == len(one.task.train) for one in found.values())
            spent = f"{time.perf_counter() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU"
            which = "the next target" if number else "the first target"
            print(f"{which}: {spent}; peak memory {before:.0f} -> {peak():.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
