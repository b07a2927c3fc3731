"""Fuzzing by hand, for as long as it is let: ``python tests/unit/fuzz/long.py --minutes 30 --seed 1``."""

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # toy

import toy
from surfaces import surfaces

from sgg_ray.config import Config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        toy.save_encoder(folder / "encoder")
        toy.write_rows(folder / "target.jsonl", toy.sentences(120, 1))
        settings = {
            "name": "fuzz",
            "model": {"path": str(folder / "encoder")},
            "target": {"path": str(folder / "target.jsonl"), "shots": 8, "test": {"fraction": 0.4}},
            "train": {"max_steps": 3, "max_length": 24},
            "ray": {"storage_path": str(folder / "finished")},
        }
        config = Config.model_validate(settings)
        (folder / "fuzz").mkdir()
        attempts = surfaces(folder / "fuzz", config, toy.finish_run(config))
        ends, seed = time.monotonic() + 60 * options.minutes, 0
        while time.monotonic() < ends:
            for name, attempt in attempts.items():
                key = f"{options.seed} {name} {seed}"
                try:
                    attempt(random.Random(key))
                except Exception:
                    found += 1
                    print(f"== {key}\n{traceback.format_exc(limit=-4)}", flush=True)
            seed += 1
        print(f"{seed * len(attempts):,} files, {found} that were neither read nor refused in one line")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
