"""What strategy auto costs beside a plain training of the strategy that counts most in it: the example of `sgg init`.

python benchmarks/auto_cost.py --rounds 3

Both commands are whole: reading, scoring, starting Ray, training, baseline, held-out trainings, test rows. The seconds
of the training steps alone are taken from events.jsonl. Commands run in turns.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SGG = (sys.executable, "-c", "from sgg_ray.cli import main; main()")


def train(folder: Path, name: str, *options: str) -> tuple[float, float]:
    """Seconds of the command, and of the optimiser steps of its own training, members of an average included."""
    started = time.perf_counter()
    subprocess.run(
        [*SGG, "train", "sgg.yaml", "--name", name, *options], cwd=folder, check=True, capture_output=True
    )
    seconds = time.perf_counter() - started
    lines = (folder / "runs" / name / "events.jsonl").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event.get("run", "").startswith("guided")]
    return seconds, sum(event.get("seconds", 0.0) for event in events)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", dest="changes", action="append", default=[], help="as in sgg train")
    asked = parser.parse_args()
    changes = [part for change in asked.changes for part in ("--set", change)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([*SGG, "init", "."], cwd=folder, check=True, capture_output=True)
        auto, plain = [], []
        for number in range(asked.rounds):
            auto.append(train(folder, f"auto-{number}", *changes))
            choice = json.loads((folder / "runs" / f"auto-{number}" / "choice.json").read_text())
            chosen = next(iter(choice["shares"]))
            plain.append(train(folder, f"plain-{number}", "--strategy", chosen, *changes))
    print(f"auto chose {', '.join(choice['shares'])}; the plain training is {chosen}")
    print("| | auto, s | plain, s | ratio (range) |")
    print("|---|---|---|---|")
    for place, what in enumerate(("whole command", "training steps")):
        ratios = [first[place] / second[place] for first, second in zip(auto, plain)]
        left, right = (np.median([one[place] for one in each]) for each in (auto, plain))
        span = f"{min(ratios):.2f}–{max(ratios):.2f}"
        print(f"| {what} | {left:.1f} | {right:.1f} | {np.median(ratios):.2f} ({span}) |")


if __name__ == "__main__":
    main()
