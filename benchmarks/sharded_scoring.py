"""Scores of a model in parts on the GPUs of a host (``ray.sharding: fsdp``), beside those of the whole model on one.

    python benchmarks/sharded_scoring.py [--shape 1b] [--gpus N] [--json FILE]

One process a GPU and the product's own scoring (:func:`sgg_ray.scoring.score_sharded`): gradients of the contrast loss
at all parameters, sketched, of 16 shots one by one and of two sources of 128 rows in eight parts each, texts of up to
64 tokens. The model has random weights. In bfloat16, as one trains; then in float32, in which scores of the whole model
and of the parts have to be the same numbers. The first of two scorings warms up.

``--shape tiny --device cpu --gpus 2`` only checks that the script works.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from sharded_training import SHAPES, random_llama, synchronise
from torch import multiprocessing

from sgg_ray.config import Config
from sgg_ray.scoring import score_sharded
from sgg_ray.scoring.sharded_pool import ScoredPool
from sgg_ray.tasks import Task, load_tasks

PRECISIONS = ("bfloat16", "float32")
SHOTS, ROWS = 8, 128  # of a class of the target; of a source
LENGTH = 64  # tokens of a text


def save_model(shape: str, folder: Path, device: torch.device) -> None:
    """Random weights as a folder that ``model.path`` can name; its tokenizer is there already."""
    random_llama(shape, device, checkpointed=False).to(torch.bfloat16).save_pretrained(folder)


def write_tasks(folder: Path) -> None:
    """A target of two classes and two sources, of random words of the toy tokenizer."""
    import toy

    random = np.random.default_rng(0)
    for name, rows in (("target", 4 * SHOTS), ("alike", ROWS), ("other", ROWS)):
        lines = ["text,label"]
        for row in range(rows):
            marked = toy.GOOD if row % 2 else toy.BAD
            words = [str(random.choice(marked)), *random.choice(toy.PLAIN, LENGTH // 2)]
            shown = row % 2 if name != "other" else random.integers(2)
            lines.append(f"{' '.join(words)},{toy.PLAIN[0] if shown else toy.PLAIN[1]}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def configuration(folder: Path, precision: str) -> Config:
    return Config.model_validate(
        {
            "name": "benchmark",
            "model": {"path": str(folder / "model"), "precision": precision},
            "target": {"path": str(folder / "target.csv"), "shots": SHOTS, "test": {"fraction": 0.5}},
            "sources": [{"name": name, "path": str(folder / f"{name}.csv")} for name in ("alike", "other")],
            "train": {"max_length": LENGTH},
            "ray": {"sharding": "fsdp", "num_workers": 2},  # which means nothing to one process
        }
    )


def scored(
    config: Config, tasks: tuple[Task, list[Task]], device: torch.device
) -> tuple[ScoredPool, float, float]:
    """What came of it, seconds, and GiB at most."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    synchronise(device)
    started = time.perf_counter()
    found = score_sharded(config, *tasks, device)
    synchronise(device)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return found, time.perf_counter() - started, memory


def work(rank: int, arguments: argparse.Namespace, folder: Path, workers: int) -> None:
    torch.set_num_threads(8 if arguments.device == "cuda" else 1)
    device = torch.device("cuda", rank) if arguments.device == "cuda" else torch.device("cpu")
    if arguments.device == "cuda":
        torch.cuda.set_device(device)
    if workers > 1:
        backend = "nccl" if arguments.device == "cuda" else "gloo"
        dist.init_process_group(
            backend, init_method=f"file://{folder}/meeting", rank=rank, world_size=workers
        )
    results: dict[str, Any] = {}
    for precision in PRECISIONS:
        config = configuration(folder, precision)
        tasks = load_tasks(config)
        scored(config, tasks, device)
        found, seconds, memory = scored(config, tasks, device)
        (target,) = found.gradients.targets.values()
        results[precision] = {
            "seconds": seconds,
            "gib": memory,
            "vectors": target.vectors,
            "scores": {name: score and score.value for name, score in found.gradients.scores(0.95).items()},
        }
    if workers > 1:
        dist.destroy_process_group()
    if rank == 0:
        torch.save(results, folder / f"{workers}.pt")


def report(folder: Path, workers: int, shape: str) -> dict[str, Any]:
    """Print a row for each number of workers and precision, and how far parts and whole are apart."""
    found = {count: torch.load(folder / f"{count}.pt", weights_only=False) for count in (1, workers)}
    answer: dict[str, Any] = {}
    for precision in PRECISIONS:
        whole, parts = (found[count][precision] for count in (1, workers))
        gap = np.linalg.norm(parts["vectors"] - whole["vectors"]) / np.linalg.norm(whole["vectors"])
        scores = [abs(parts["scores"][name] - value) for name, value in whole["scores"].items()]
        for count, own in ((1, whole), (workers, parts)):
            print(f"| {shape} | {precision} | {count} | {own['seconds']:.1f} s | {own['gib']:.1f} GiB |")
        print(f"{precision}: sketches {gap:.1e} apart, scores {max(scores):.1e}; {whole['scores']}")
        answer[precision] = {"sketches": float(gap), "scores": max(scores)}
        answer[precision] |= {
            str(count): {key: found[count][precision][key] for key in ("seconds", "gib", "scores")}
            for count in (1, workers)
        }
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--gpus", type=int, default=max(1, torch.cuda.device_count()))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    import toy

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        toy.save_language_model(folder / "model")
        save_model(arguments.shape, folder / "model", torch.device(arguments.device))
        write_tasks(folder)
        for workers in (1, arguments.gpus):
            multiprocessing.spawn(work, (arguments, folder, workers), nprocs=workers)
        found = report(folder, arguments.gpus, arguments.shape)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
