"""Time and memory of a step with the model in parts on the GPUs of a host (``ray.sharding: fsdp``), plain and guided.

    python benchmarks/sharded_training.py [--shapes 1b 7b] [--gpus N] [--steps 8] [--json FILE]
    python benchmarks/sharded_training.py --shapes 7b --memory-of 4 --gib 80

One process a GPU and the product's own training loop: FSDP2 with passes in bfloat16 and shards in float32, a
language-model loss over 512 tokens a row, full fine-tuning, AdamW, direction and magnitude terms by a forward
difference. Weights are random, which cost the same as trained ones. Blocks of four plain and of four guided steps take
turns on one model; the 7 B model recomputes its activations. Then the loop of Hugging Face Accelerate, on the same
shape. The last column is the share of the device's peak (``mfu`` in the events of a training).

``--gpus 1`` trains the whole model on one GPU, as ``sgg train`` does without sharding: what weak scaling is measured
against. ``--memory-of N`` runs the first of N workers alone, whose transfers do nothing (PyTorch's fake process group):
its memory is that of N GPUs, its times and its numbers mean nothing. ``--gib`` is the memory that a GPU shall have.

``--shapes tiny --device cpu --gpus 2`` only checks that the script works.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate_loop import accelerate_step
from torch import multiprocessing
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import LlamaConfig, LlamaForCausalLM

from sgg_ray.config import Config
from sgg_ray.guidance import Guidance
from sgg_ray.models import (
    LanguageModel,
    PromptedRows,
    graphed,
    kept_between_passes,
    load_tokenizer,
    shard_model,
)
from sgg_ray.tasks import COMPLETIONS
from sgg_ray.training import Trainer, communicator_here
from sgg_ray.training.phases import guidance_of, phases_of
from sgg_ray.training.throughput import peak_of

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
VARIANTS = {"plain": None, "guided": 1, "guided, interval 4": 4}  # guidance.interval
COMPARED = ("tiny", "1b")  # with another library's loop
WORDS = 32000
WARM_UP = 2


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


def configuration(shape: str, workers: int, interval: int | None) -> Config:
    _, rows, length, _ = SHAPES[shape]
    terms = dict.fromkeys(("lambda_direction", "lambda_magnitude"), 0.0 if interval is None else 0.1)
    guidance = {**terms, "lambda_alignment": 0, "lambda_source": 0}
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


def measure(
    rank: int, shape: str, steps: int, device: torch.device, folder: Path, compared: bool
) -> dict[str, Any]:
    workers = dist.get_world_size()
    _, rows, length, checkpointed = SHAPES[shape]
    model = LanguageModel(
        random_llama(shape, device, checkpointed),
        load_tokenizer(str(folder)),
        {COMPLETIONS: ()},
        {COMPLETIONS: (None, None)},
        chat=False,
        max_length=length,
        precision="bfloat16",
    )
    facts = {"parameters": sum(parameter.numel() for parameter in model.parameters()), "workers": workers}
    if workers > 1:
        shard_model(model, device)
    else:
        model.to(device)
    target = rows_of(4 * rows * workers, length)
    trainer = Trainer(model, target, {}, {}, configuration(shape, workers, None), communicator_here())
    plain_phases, guided = trainer.phases, cache(lambda: guidance_like(trainer, shape))

    def four_steps(name: str) -> None:
        interval = VARIANTS[name]
        trainer.phases = plain_phases
        if interval is not None:
            guided().interval = interval
            config = configuration(shape, workers, interval)
            trainer.phases = phases_of(config, trainer.passes, guided(), trainer.diagnostics, False)
        for _ in range(4):  # of which one is guided with interval 4
            trainer._step()
            trainer.step += 1

    blocks = {name: partial(four_steps, name) for name in VARIANTS}
    with graphed(model.trunk(), trainer._records), kept_between_passes(model):
        seconds, memory = timed(blocks, steps, 4, device)
        mfu = trainer.passes.throughput.work * rows * length / (peak_of(device) or float("nan"))
    plain = seconds["plain"]
    found = {name: told(rank, shape, name, own, plain, memory[name], mfu) for name, own in seconds.items()}
    if shape in COMPARED and compared:
        del trainer, plain_phases, guided, four_steps, blocks, model
        free(device)
        step = accelerate_step(random_llama(shape, device, checkpointed), rows, length, 1e-5)
        theirs, most = timed({"accelerate": step}, 4 * steps, 1, device)
        ((name, times),) = theirs.items()
        found[name] = told(rank, shape, name, times, [statistics.median(plain)] * len(times), most[name], mfu)
    free(device)
    return facts | found


def told(
    rank: int, shape: str, name: str, times: list[float], plain: list[float], gib: float, mfu: float
) -> dict[str, Any]:
    """A row of the table, printed by the first worker.

    Args:
        times: seconds of a step, round by round.
        plain: those of a plain step in the same rounds.
        gib: memory at most.
        mfu: share of the peak that a plain step of one second would have.
    """
    _, rows, length, _ = SHAPES[shape]
    median, ratios = statistics.median(times), [one / own for one, own in zip(times, plain)]
    ratio = statistics.median(ratios)
    share = mfu / median * (1 + 1 / VARIANTS[name] if VARIANTS.get(name) else 1)
    if rank == 0:
        print(
            f"| {shape} | {dist.get_world_size()} | {name} "
            f"| {1e3 * median:.1f} ({1e3 * min(times):.0f}–{1e3 * max(times):.0f}) "
            f"| {gib:.1f} | {ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f}) "
            f"| {rows * length / median:,.0f} | {100 * share:.1f} % |",
            flush=True,
        )
    return {"ms": 1e3 * median, "gib": gib, "ratio": ratio, "all": times, "mfu": share}


def guidance_like(trainer: Trainer, shape: str) -> Guidance:
    """Guidance over the same parameters, for a training that has none."""
    config = configuration(shape, trainer.communicator.world_size, 1)
    layout = trainer.layout
    return guidance_of(config.guidance, trainer.flat, layout.private, layout.shared, 10_000, 1)


def timed(
    blocks: dict[str, Callable[[], None]], rounds: int, steps: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of a step in each round, blocks in turns, and GiB at most."""
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    memory = dict.fromkeys(blocks, float("nan"))
    for number in range(WARM_UP + rounds):
        for name, block in blocks.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            synchronise(device)
            dist.barrier()
            started = time.perf_counter()
            block()
            synchronise(device)
            if number >= WARM_UP:
                seconds[name].append((time.perf_counter() - started) / steps)
            if device.type == "cuda" and number == 0:  # before the next one has its buffers
                memory[name] = torch.cuda.max_memory_allocated() / 2**30
    return seconds, memory


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def limit(gib: float | None, device: torch.device) -> None:
    """As if the GPU had so many GiB, for PyTorch and for who asks how much is free."""
    if gib is None:
        return
    inquire, total = torch.cuda.mem_get_info, torch.cuda.get_device_properties(device).total_memory
    has = int(gib * 2**30)
    torch.cuda.set_per_process_memory_fraction(has / total, device)
    torch.cuda.mem_get_info = lambda of: (inquire(of)[0] - (total - has), has)


def work(rank: int, arguments: argparse.Namespace, folder: Path) -> None:
    device = torch.device("cuda", rank) if arguments.device == "cuda" else torch.device("cpu")
    backend = "nccl" if arguments.device == "cuda" else "gloo"
    if arguments.device == "cuda":
        torch.cuda.set_device(device)
        limit(arguments.gib, device)
    if arguments.memory_of:
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=arguments.memory_of)
    else:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=arguments.gpus)
    compared = dist.get_world_size() > 1 and not arguments.memory_of
    found = {
        shape: measure(rank, shape, arguments.steps, device, folder, compared) for shape in arguments.shapes
    }
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
    parser.add_argument("--memory-of", type=int)
    parser.add_argument("--gib", type=float)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    import toy

    titles = ("model", "GPUs", "step", "ms", "GiB a GPU", "× plain", "tokens/s a GPU", "of the peak")
    print("|", " | ".join(titles), "|\n" + "|---" * len(titles) + "|")
    with tempfile.TemporaryDirectory() as folder:
        toy.save_language_model(Path(folder))
        count = 1 if arguments.memory_of else arguments.gpus
        multiprocessing.spawn(work, (arguments, Path(folder)), nprocs=count)


if __name__ == "__main__":
    main()
