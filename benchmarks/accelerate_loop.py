"""A plain training step of Hugging Face Accelerate on FSDP2: what that of ``ray.sharding: fsdp`` is compared with.

Its loop as its guide for FSDP2 has it: ``Accelerator`` with a plugin that wraps the decoder's layers, the model's own
loss over all positions, fused AdamW. The precision is the product's: passes in bfloat16, shards and sums in float32.
"""

import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from transformers import LlamaForCausalLM


def accelerate_step(
    backbone: LlamaForCausalLM, rows: int, length: int, learning_rate: float
) -> Callable[[], None]:
    """A function that does one step on random tokens [rows, length] of its own, in each worker of the process group.

    Args:
        backbone: in the host's memory; it becomes Accelerate's.
    """
    from accelerate import Accelerator, FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    # Where there is a process group, Accelerate reads nothing else from what torchrun would set.
    os.environ |= {"RANK": str(dist.get_rank()), "LOCAL_RANK": str(dist.get_rank())}
    os.environ |= {
        "WORLD_SIZE": str(dist.get_world_size()),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29531",
    }
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
        mixed_precision_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
    )
    accelerator = Accelerator(mixed_precision="bf16", fsdp_plugin=plugin, cpu=dist.get_backend() == "gloo")
    optimiser = torch.optim.AdamW(backbone.parameters(), lr=learning_rate, fused=True)
    model, optimiser = accelerator.prepare(backbone, optimiser)
    model.train()
    words = backbone.config.vocab_size
    generator = torch.Generator().manual_seed(dist.get_rank())

    def step() -> None:
        ids = torch.randint(5, words, (rows, length), generator=generator)
        ids = ids.to(accelerator.device, non_blocking=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step
