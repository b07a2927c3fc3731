"""How near `sgg predict` comes to the rate of its model's forward passes.

    python benchmarks/predict.py RUN --rows 200000

The floor is the forward passes of the same batches alone: tokenised, padded and on the device before the clock starts.
Both are measured in turns, one thread, in CPU time, without loading the model (the time for a file of one row); the
share is the median of the ratios, with their range.
"""

import argparse
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sgg_ray.artifacts import open_run
from sgg_ray.models import batches_by_length
from sgg_ray.orchestration.predict.predict_driver import ROWS, predict
from sgg_ray.prediction import Predictor
from sgg_ray.prediction.predictor import BATCH

WORDS = 12  # of a text on average


def texts(rows: int, seed: int) -> list[str]:
    """Different texts of 4 to 20 words."""
    draw = random.Random(seed)
    words = [f"word{number}" for number in range(170)]
    return [" ".join(draw.choices(words, k=draw.randint(4, 2 * WORDS - 4))) for _ in range(rows)]


def write(path: Path, found: list[str]) -> Path:
    """Write a CSV file with one column more than is needed."""
    lines = [f"{number},{text}\n" for number, text in enumerate(found)]
    path.write_text("number,text\n" + "".join(lines), encoding="utf-8")
    return path


def forward_seconds(predictor: Predictor, found: list[str]) -> float:
    """Time of the forward passes alone."""
    model, took = predictor.model, 0.0
    model.eval()
    for start in range(0, len(found), ROWS):
        task = model.task_of(predictor.head, found[start : start + ROWS])
        rows = model.tokenise(task, task.train)
        batches = [
            model.collate([(rows, int(index)) for index in chosen])
            for chosen in batches_by_length(rows, BATCH)
        ]
        started = time.process_time()
        with torch.inference_mode():
            for batch in batches:
                result = model.predictions(batch)
        result.cpu()
        took += time.process_time() - started
    return took


def predict_seconds(run: str, data: Path) -> float:
    """CPU time of the command's work on a file."""
    out = data.with_suffix(".out.csv")
    started = time.process_time()
    predict(run, data, out, overwrite=True)
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="folder of a finished training of labels from one column `text`")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    predictor = Predictor(open_run(chosen.run).model)
    each, shares, rates = chosen.rows // chosen.rounds, [], []
    with tempfile.TemporaryDirectory() as scratch:
        one = write(Path(scratch, "one.csv"), texts(1, seed=0))
        predict_seconds(chosen.run, one)  # loads libraries
        for number in range(chosen.rounds):
            found = texts(each, seed=number)
            data = write(Path(scratch, f"{number}.csv"), found)
            took = predict_seconds(chosen.run, data) - predict_seconds(chosen.run, one)
            shares.append(forward_seconds(predictor, found) / took)
            rates.append(each / took)
    low, share, high = np.percentile(shares, [0, 50, 100])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{chosen.rows:,} rows: {np.median(rates):,.0f} a second of CPU time, {share:.0%} of the forward passes' rate "
        f"({low:.0%} to {high:.0%}); memory at most {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()
