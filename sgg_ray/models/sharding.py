"""A language model whose parameters lie in parts on the workers of a training: PyTorch's FSDP2."""

import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.models.language_model import LanguageModel
from sgg_ray.models.task_model import TaskModel

PASSES = ("scores", "generate")  # the methods of a model that gather its parameters


TOO_OLD = f"ray.sharding: fsdp needs PyTorch 2.8 or newer, found {torch.__version__}"


def pytorch_can_shard() -> bool:
    """Whether this PyTorch can sum the gradients of shards without dividing them."""
    try:
        from torch.distributed.fsdp import FSDPModule
    except ImportError:
        return False
    return hasattr(FSDPModule, "set_force_sum_reduction_for_comms")


def shard_model(model: TaskModel, device: torch.device) -> None:
    """Leave each worker of the default process group an equal part of every parameter, in place.

    Every block of the model is gathered for its own passes alone. Frozen parameters are sharded as well. With
    ``precision: bfloat16`` parameters are gathered, and passes computed, in bfloat16; shards of trainable parameters,
    their gradients and sums stay in float32. The model comes from the host's memory block by block: it never lies whole
    on a device.

    Args:
        model: a language model, on the CPU.
        device: of this worker.

    Raises:
        ModelError: it is an encoder, has no blocks to be found, or this PyTorch cannot shard it.
    """
    if not pytorch_can_shard():
        raise ModelError(TOO_OLD)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        FSDPModule,
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    if not isinstance(model, LanguageModel):
        raise ModelError(
            "ray.sharding: fsdp is for causal language models, which model.path is not; remove ray.sharding"
        )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    half = torch.bfloat16 if model.precision == "bfloat16" else None
    options: dict[str, Any] = {
        "mesh": mesh,
        "mp_policy": MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32),
        # The root, too: weights that change between two passes must be gathered anew.
        "reshard_after_forward": True,
    }
    for block in blocks_of(model):
        fully_shard(block, **options)
    fully_shard(model, **options)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # Losses are shares of a mean over all rows: gradients are summed, not averaged. As a plain sum, which gloo
            # knows as well.
            part = cast(FSDPModule, module)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    # What passes return is added to, never changed in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for name in PASSES:
        register_fsdp_forward_method(model, name)


def check_sharding(config: Config) -> None:
    """See whether a sharded training of a causal language model can do what is asked for.

    Raises:
        ModelError: a line for each key that it cannot.
    """
    if config.ray.sharding is None:
        return
    if not pytorch_can_shard():
        raise ModelError(TOO_OLD)
    train, alone = config.train, "is trained in one process, which holds the whole model"
    rules = (
        (
            config.ray.fewest_workers > 1,
            f"ray.{'num' if config.ray.min_workers is None else 'min'}_workers: fsdp needs two workers or more, "
            "found 1",
        ),
        (
            config.guidance.hvp != "exact",
            "guidance.hvp: fsdp cannot differentiate twice; use finite_difference",
        ),
        (
            config.alignment.refresh_interval == 0,
            "alignment.refresh_interval: scores come from whole models; with fsdp set it to 0",
        ),
        (
            config.model.quantization is None,
            "model.quantization: quantised weights cannot be sharded; remove it, or ray.sharding",
        ),
        (train.method == "gradients", f"train.method: fsdp is for gradients, found {train.method}"),
        (not train.baseline, f"train.baseline: the baseline {alone}; with fsdp set it to false"),
        (train.calibration_folds == 0, f"train.calibration_folds: each {alone}; with fsdp set it to 0"),
    )
    problems = [f"{text} (ray.sharding: fsdp)" for fine, text in rules if not fine]
    if problems:
        raise ModelError(problems)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The model's blocks: members of the longest list of modules in it.

    Raises:
        ModelError: there is none.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    longest = max(lists, key=len, default=None)
    if longest is None or len(longest) == 0:
        raise ModelError("ray.sharding: no list of blocks was found in the model; remove ray.sharding")
    return list(longest)


@torch.no_grad()
def gathered(model: nn.Module, keep: bool) -> dict[str, Tensor]:
    """The trainable parameters of a sharded model, whole, in the host's memory. All workers have to call it.

    Args:
        keep: whether this worker wants them; otherwise it gets none.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            whole = parameter.full_tensor()  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
            if keep:
                found[name] = whole.cpu()
    return found
