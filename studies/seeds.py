"""Accuracy over several seeds of one configuration: target only, mixtures of sources, and guidance.

    python studies/seeds.py pipelines/configs/quickstart.yaml --seeds 5 --json seeds.json

Every seed draws other shots, other test rows, other batches and other dropout; within a seed all variants share them,
so differences are paired by seed. Runs the same functions as ``sgg train``, in processes of its own, without Ray.
"""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import torch

from sgg_ray.alignment import mixture_weights
from sgg_ray.config import Config, load_config
from sgg_ray.models import build_model
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0}
# name: (weighting of the sources, or None for no sources; changes to guidance)
VARIANTS: dict[str, tuple[str | None, dict[str, float]]] = {
    "target only": (None, {**OFF, "lambda_source": 0.0}),
    "target only + guidance": (None, {"lambda_alignment": 0.0, "lambda_source": 0.0}),
    "uniform mixture": ("uniform", OFF),
    "alignment-weighted": ("configured", OFF),
    "alignment-weighted + guidance": ("configured", {}),
}


def scores(config: Config, device: torch.device):
    """Scores of all sources, as the task workers compute them."""
    target, sources = load_tasks(config)
    model = build_model(config, [target]).to(device)
    summariser = TaskSummariser(model, config.alignment, config.seed)
    scored = score_tasks(summariser, target, sources, config.train.share_labels)
    found = [scored[source.name] for source in sources]
    return target, sources, found


def one_seed(job: tuple[str, list[str], int]) -> dict:
    """Accuracy of every variant at one seed."""
    path, overrides, seed = job
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = load_config(path, [*overrides, f"seed={seed}"])
    target, sources, found = scores(config, device)
    result: dict = {"seed": seed, "scores": {s.name: vars(f) for s, f in zip(sources, found)}, "accuracy": {}}
    for name, (weighting, changes) in VARIANTS.items():
        guided = config.model_copy(update={"guidance": config.guidance.model_copy(update=changes)})
        used = sources if weighting else []
        kind = config.alignment.weighting if weighting == "configured" else "uniform"
        weights = mixture_weights(found, kind)
        mixture = {source.name: float(weight) for source, weight in zip(used, weights)}
        started = time.perf_counter()
        outcome = run_training(guided, target, used, mixture, device)
        accuracy = float((outcome.probabilities.argmax(1) == target.test.labels).mean())
        result["accuracy"][name] = accuracy
        print(
            f"seed {seed}  {name:32s} {100 * accuracy:5.1f} %  {time.perf_counter() - started:5.0f} s",
            flush=True,
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    jobs = [(arguments.config, arguments.overrides, seed) for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        results = pool.map(one_seed, jobs, chunksize=1)
    base = np.array([result["accuracy"]["target only"] for result in results])
    print(
        f"\n{len(results)} seeds{'':23s} accuracy ± sd    paired difference to target only ± standard error"
    )
    for name in VARIANTS:
        values = 100 * np.array([result["accuracy"][name] for result in results])
        gains = values - 100 * base
        error = gains.std(ddof=1) / len(gains) ** 0.5
        print(
            f"{name:32s} {values.mean():5.1f} ± {values.std(ddof=1):3.1f}     {gains.mean():+5.1f} ± {error:.1f}"
        )
    for source in results[0]["scores"]:
        values = [result["scores"][source] for result in results]
        conflicts = sum(value["high"] < 0 for value in values)
        uses = sum(value["low"] > 0 for value in values)
        shown = " ".join(f"{value['observed']:+.2f}" for value in values)
        print(f"{source:16s} cosine {shown}   use {uses}, conflict {conflicts} of {len(values)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2, default=float) + "\n")


if __name__ == "__main__":
    main()
