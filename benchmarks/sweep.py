"""What a sweep costs beside its trainings: start to first step, share of the slots' time that is training.

    python benchmarks/sweep.py [--trials 32] [--steps 150]

Runs `sgg tune` on a tiny encoder and the tasks of `sgg init`, in a folder that is deleted at the end. Says what it
measured as JSON; `others` is the load of the machine when it began: times count only where that is low. The first step
is told up to two seconds after it was made, when MLflow has taken in the trial.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from sgg_ray.artifacts import write_example
from sgg_ray.orchestration.doctor.smoke import tiny_encoder

STAGES = (
    ("loading PyTorch and Ray", "importing"),
    ("checking the model", "checking the model"),
    ("starting Ray", "starting Ray"),
    (r"\d+ trials? at a time", "opening MLflow"),
    ("loading the model in the task workers", "task workers"),
    ("scoring the sources", "scoring"),
    ("searching", "trial processes"),
)


def measure(folder: Path, trials: int, steps: int) -> dict[str, object]:
    write_example(folder)
    settings = {
        "model.path": tiny_encoder(folder / "model"),
        "train.max_steps": steps,
        "train.logging_steps": 1,
        "tune.num_samples": trials,
        "tune.folds": 2,
        "tune.search": "random",
    }
    command = [sys.executable, "-c", "from sgg_ray.cli import main; main()", "tune", "sgg.yaml"]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    load, started = os.getloadavg()[0], time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = [(time.monotonic() - started, line.strip()) for line in process.stdout]  # as they come
    if process.wait():
        raise SystemExit("\n".join(line for _, line in seen))

    def first(pattern: str) -> float:
        return next(moment for moment, line in seen if re.match(pattern, line))

    begun, step, end = first("searching"), first(r"trial \d+ \d+/"), first(f"trials {trials}/{trials}")
    slots = int(next(line for _, line in seen if "at a time" in line).split()[0])
    frame = pd.read_parquet(next(folder.glob("runs/*/trials.parquet")))
    training = float(frame["seconds"].sum())
    moments = [first(pattern) for pattern, _ in STAGES] + [step]
    return {
        "others": load,
        "trials": len(frame),
        "slots": slots,
        "start to first step, s": round(step, 1),
        "of which, s": {
            name: round(after - before, 1) for (_, name), before, after in zip(STAGES, moments, moments[1:])
        },
        "a training, s": round(training / frame["trainings"].sum(), 2),
        "training of all time of the search": round(training / slots / (end - begun), 3),
        # With the start of the slots' processes, which happens once.
        "beside training, s a trial": round((slots * (end - begun) - training) / len(frame), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--steps", type=int, default=150)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), asked.trials, asked.steps), indent=2))


if __name__ == "__main__":
    main()
