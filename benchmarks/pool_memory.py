"""What the process that reads a pool holds of it: memory and CPU time of reading, and of looking at all its rows.

    python benchmarks/pool_memory.py --rows 1000000

Four CSV files of different texts of 30 words. Memory is what the process has to itself (RssAnon of /proc): pages of
files, which the system drops when it needs them, are not in it. The last line tells whether two versions read the same.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

from large_source import write

from sgg_ray.config import Config
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.scoring.row_facts import equal_texts
from sgg_ray.tasks import almost_in, load_tasks, overlaps

SOURCES = 4


def own_memory() -> float:
    """Memory that is this process's alone, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


class Peak:
    """The most memory so far, looked at all the time."""

    def __init__(self):
        self.most = own_memory()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, own_memory())
            time.sleep(0.05)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="of all sources together")
    parser.add_argument("--folder", type=Path, help="where the files go for the time being")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        names = [f"source{number}" for number in range(SOURCES)]
        for seed, name in enumerate(names):
            write(Path(scratch, f"{name}.csv"), chosen.rows // SOURCES, seed=2 + seed)
        target = {"path": str(write(Path(scratch, "target.csv"), 200, seed=1)), "shots": 8}
        config = Config.model_validate(
            {
                "name": "benchmark",
                "model": {"path": "none"},
                "target": {**target, "test": {"fraction": 0.5}},
                "sources": [{"name": name, "path": str(Path(scratch, f"{name}.csv"))} for name in names],
            }
        )
        before, started = own_memory(), time.process_time()
        peak = Peak()
        target, sources = load_tasks(config)
        took, held = time.process_time() - started, own_memory()
        print(
            f"read: {took:.1f} s of CPU time; {held - before:.0f} MiB held, {peak.most - before:.0f} at most"
        )
        started = time.process_time()
        overlaps([target, *sources])
        for source in sources:
            almost_in(source.train, target.test)
            equal_texts(source)
        took = time.process_time() - started
        print(f"looked at: {took:.1f} s of CPU time; {peak.most - before:.0f} MiB at most")
        print(f"rows: {fingerprint([target, *sources])}")


if __name__ == "__main__":
    main()
