"""Time and memory of a step with the model in parts on the GPUs of a host (``ray.sharding: fsdp``), plain and guided.

    python benchmarks/sharded_training.py [--shapes 1b 7b] [--gpus N] [--steps 8] [--json FILE]

One process a GPU and the product's own training loop: FSDP2 with passes in bfloat16 and shards in float32, a
language-model loss over 512 tokens a row, full fine-tuning, AdamW, direction and magnitude terms by a forward
difference. Weights are random, which cost the same as trained ones. Blocks of plain and guided steps take turns on one
model. The 7 B model recomputes its activations.

``--shapes tiny --device cpu --gpus 2`` only checks that the script works.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import multiprocessing
from transformers import LlamaConfig, LlamaForCausalLM

from sgg_ray.config import Config
from sgg_ray.models import LanguageModel, PromptedRows, load_tokenizer, shard_model
from sgg_ray.tasks import COMPLETIONS
from sgg_ray.training import Distributed, Trainer

# (shape, rows a GPU, tokens a row, activation checkpointing)
SHAPES = {
    "tiny": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
        2,
        32,
        False,
    ),
    "1b": (
        {"hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4}
        | {"intermediate_size": 5632},
        8,
        512,
        False,
    ),
    "7b": (
        {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"intermediate_size": 14336},
        4,
        512,
        True,
    ),
}
VARIANTS = {"plain": {}, "guided": {"interval": 1}, "guided, interval 4": {"interval": 4}}
WORDS = 32000
WARM_UP = 3


def random_llama(shape: str, device: torch.device, checkpointed: bool) -> LlamaForCausalLM:
    """A Llama in the host's memory. Filled on the device, parameter by parameter: a host's cores take minutes."""
    config = LlamaConfig.from_dict({"vocab_size": WORDS, "tie_word_embeddings": False, **SHAPES[shape][0]})
    with torch.device("meta"):
        backbone = LlamaForCausalLM(config)
    backbone.to_empty(device="cpu")
    backbone.model.rotary_emb = type(backbone.model.rotary_emb)(config)
    for parameter in backbone.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.empty(parameter.shape, device=device).normal_(std=0.02).cpu()
        else:
            parameter.data.fill_(1.0)
    if checkpointed:
        backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return backbone


def rows_of(count: int, length: int) -> PromptedRows:
    """Rows of a one-token prompt and a completion of all the rest."""
    random = np.random.default_rng(0)
    ids = tuple(random.integers(5, WORDS, 1) for _ in range(count))
    said = tuple((tuple(random.integers(5, WORDS, length - 1).tolist()),) for _ in range(count))
    return PromptedRows(COMPLETIONS, ids, np.zeros(count, dtype=np.int64), candidates=said)


def configuration(shape: str, workers: int, steps: int, interval: int | None) -> Config:
    _, rows, length, _ = SHAPES[shape]
    terms = 0.0 if interval is None else 0.1
    guidance = {
        "lambda_direction": terms,
        "lambda_magnitude": terms,
        "lambda_alignment": 0,
        "lambda_source": 0,
    }
    return Config.model_validate(
        {
            "name": "benchmark",
            "model": {"path": "-"},
            "target": {"path": "-", "shots": 1},
            "guidance": {**guidance, "warmup_ratio": 0, "interval": interval or 1},
            "train": {
                "max_steps": 10_000,
                "batch_size": rows * workers,
                "learning_rate": 1e-5,
                "max_length": length,
                "logging_steps": 10_000,  # no sketch of a gradient within what is timed
            },
        }
    )


def measure(rank: int, shape: str, steps: int, device: torch.device, folder: Path) -> dict:
    workers = dist.get_world_size()
    _, rows, length, checkpointed = SHAPES[shape]
    tokenizer = load_tokenizer(str(folder))
    model = LanguageModel(
        random_llama(shape, device, checkpointed),
        tokenizer,
        {COMPLETIONS: ()},
        {COMPLETIONS: (None, None)},
        chat=False,
        max_length=length,
        precision="bfloat16",
    )
    whole = sum(parameter.numel() for parameter in model.parameters())
    shard_model(model, device)
    target = rows_of(4 * rows * workers, length)
    seconds: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for name, changes in VARIANTS.items():
        config = configuration(shape, workers, steps, changes.get("interval"))
        trainer = Trainer(model, target, {}, {}, config, Distributed())
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times = []
        for number in range(WARM_UP + steps):
            dist.barrier()
            synchronise(device)
            started = time.perf_counter()
            for _ in range(4):  # of which one is guided with interval 4
                trainer._step()
                trainer.step += 1
            synchronise(device)
            if number >= WARM_UP:
                times.append((time.perf_counter() - started) / 4)
        seconds[name] = times
        memory[name] = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
        del trainer
    plain = statistics.median(seconds["plain"])
    result: dict[str, Any] = {"parameters": whole, "workers": workers, "tokens": rows * length}
    for name, times in seconds.items():
        median = statistics.median(times)
        result[name] = {"ms": 1e3 * median, "gib": memory[name], "ratio": median / plain, "all": times}
        if rank == 0:
            print(
                f"| {shape} | {workers} | {name} | {1e3 * median:.1f} | {memory[name]:.1f} | {median / plain:.2f} "
                f"| {rows * length / median:,.0f} |",
                flush=True,
            )
    return result


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def work(rank: int, arguments: argparse.Namespace, folder: Path) -> None:
    device = torch.device("cuda", rank) if arguments.device == "cuda" else torch.device("cpu")
    backend = "nccl" if arguments.device == "cuda" else "gloo"
    if arguments.device == "cuda":
        torch.cuda.set_device(device)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=arguments.gpus)
    found = {shape: measure(rank, shape, arguments.steps, device, folder) for shape in arguments.shapes}
    dist.destroy_process_group()
    if rank == 0 and arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["1b", "7b"])
    parser.add_argument("--gpus", type=int, default=max(1, torch.cuda.device_count()))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    import toy

    print(
        "| model | GPUs | step | ms | GiB a GPU | × plain | tokens/s a GPU |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        toy.save_language_model(Path(folder))
        multiprocessing.spawn(work, (arguments, Path(folder)), nprocs=arguments.gpus)


if __name__ == "__main__":
    main()
