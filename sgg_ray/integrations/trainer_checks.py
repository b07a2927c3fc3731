"""What a guided Trainer cannot do, said before it starts."""

from collections.abc import Mapping
from typing import Any

import torch

from sgg_ray.errors import ConfigError

HALF = (torch.float16, torch.bfloat16)


def check_mixture(sources: Mapping[str, Any], weights: Mapping[str, float], size: int) -> None:
    """See whether sources, their weights and the batch size fit together.

    Raises:
        ConfigError: they do not; all problems at once.
    """
    problems = [
        f"weights.{name}: names no source; found {', '.join(map(repr, sources)) or 'none'}"
        for name in weights
        if name not in sources
    ]
    problems += [
        f"weights.{name}: must be at least 0, found {value}"
        for name, value in weights.items()
        if not value >= 0
    ]
    if sum(weights.values()) > 1 + 1e-6:
        problems.append(f"weights: must add up to at most 1, found {sum(weights.values()):.4g}")
    problems += [
        f"sources.{name}: must have a length and rows by number, and at least one row; found {type(rows).__name__}"
        for name, rows in sources.items()
        if not hasattr(rows, "__getitem__") or not hasattr(rows, "__len__") or not len(rows)
    ]
    if size < 1:
        problems.append(f"source_batch_size: must be at least 1, found {size}")
    if problems:
        raise ConfigError(problems)


def check_trainer(trainer: Any, source_batch_size: int | None) -> None:
    """See whether a Trainer's arguments leave room for a second pass over a batch.

    Args:
        trainer: a ``transformers.Trainer``, made.
        source_batch_size: over all processes; None without sources.

    Raises:
        ConfigError: they do not; all problems at once.
    """
    args = trainer.args
    trained = [(name, value) for name, value in trainer.model.named_parameters() if value.requires_grad]
    half = next((name for name, value in trained if value.dtype in HALF), None)
    whole = "the gradient must lie whole on each device; use DDP"
    uneven = source_batch_size is not None and source_batch_size % args.world_size != 0
    refused = [
        (args.fp16, "args.fp16: guidance has no loss scaling; use bf16=True"),
        (trainer.is_deepspeed_enabled, f"args.deepspeed: {whole}"),
        (trainer.is_fsdp_enabled, f"args.fsdp: {whole}"),
        (args.n_gpu > 1, f"args: found {args.n_gpu} GPUs in one process; start with torchrun"),
        (args.torch_compile, "args.torch_compile: compiled code does not see moved parameters; leave it out"),
        ("lomo" in str(args.optim).lower(), f"args.optim: {args.optim} steps during backward; use another"),
        (
            half,
            f"model: {half} is trained in half precision; load it with dtype=torch.float32, use bf16=True",
        ),
        (
            uneven,
            f"source_batch_size: must be a multiple of the {args.world_size} processes, found {source_batch_size}",
        ),
    ]
    problems = [line for found, line in refused if found]
    if problems:
        raise ConfigError(problems)
