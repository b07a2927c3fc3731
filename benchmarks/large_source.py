"""What it costs to draw a few rows from a large file.

    python benchmarks/large_source.py --rows 100000 --used 2000

Every row has to be seen: duplicates are dropped, and the draw depends on the texts and not on their order. The floor is
one pass of Python's ``csv`` over the same file. Times are CPU time of this process.
"""

import argparse
import csv
import random
import resource
import tempfile
import time
from pathlib import Path

from sgg_ray.config import Config
from sgg_ray.tasks import load_tasks

WORDS = 30  # of a text


def write(path: Path, rows: int, seed: int) -> Path:
    """Write a CSV file of different texts with two labels."""
    draw = random.Random(seed)
    words = [f"word{number}" for number in range(5000)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            text = f"{seed} {row} {' '.join(draw.choices(words, k=WORDS))}"
            writer.writerow([text, draw.choice(["negative", "positive"])])
    return path


def peak() -> float:
    """The most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--used", type=int, default=2000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        target = write(Path(scratch, "target.csv"), 200, seed=1)
        large = write(Path(scratch, "large.csv"), chosen.rows, seed=2)
        config = Config.model_validate(
            {
                "name": "benchmark",
                "model": {"path": "none"},
                "target": {"path": str(target), "shots": 8, "test": {"fraction": 0.5}},
                "sources": [{"name": "large", "path": str(large), "max_rows": chosen.used}],
            }
        )
        started = time.process_time()
        with open(large, newline="", encoding="utf-8") as file:
            count = sum(1 for _ in csv.reader(file)) - 1
        floor, before = time.process_time() - started, peak()
        started = time.process_time()
        _, (source,) = load_tasks(config)
        took = time.process_time() - started
    ratio = f"{took:.2f} s, {took / floor:.1f} × one pass of csv ({floor:.2f} s)"
    print(f"{count:,} rows, {len(source.train):,} used: {ratio}")
    print(f"memory: {before:.0f} MiB before, {peak():.0f} MiB at most")


if __name__ == "__main__":
    main()
