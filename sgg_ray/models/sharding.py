"""A language model whose parameters lie in parts on the workers of a training: PyTorch's FSDP2."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.models.language_model import LanguageModel
from sgg_ray.models.task_model import TaskModel

PASSES = ("token_log_probabilities", "generate")  # the methods of a model that gather its parameters
# Parameters that are gathered at once, at least: launching a gather and a sum takes the host about as long as
# launching all kernels of a block of 50 M parameters takes it.
TOGETHER = 1 << 27
FEWEST_GROUPS = 4  # of blocks: while one computes, the next is gathered
# Of the memory that is left for passes: what a whole model may take from a forward pass to its backward pass.
KEPT_SHARE = 1 / 4
STATE = 16  # bytes a trained value that come with the first steps: two moments, a reference and a moved copy

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

    Blocks of the model are gathered for their own passes alone, small ones several at once. Frozen parameters are
    sharded as well. With
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
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

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
    for group in groups_of(blocks_of(model)):
        fully_shard(group, **options)
    fully_shard(model, **options)
    for part in _parts_of(model):
        # Losses are shares of a mean over all rows: gradients are summed, not averaged. As a plain sum, which gloo
        # knows as well.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)
    # What passes return is added to, never changed in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for name in PASSES:
        register_fsdp_forward_method(model, name)


def place_model(model: TaskModel, config: Config, device: torch.device) -> TaskModel:
    """The model on the worker's device; with ``ray.sharding``, and where there is a process group, this worker's part.

    Raises:
        ModelError: see :func:`shard_model`.
    """
    if config.ray.sharding is None or not torch.distributed.is_initialized():
        return model.to(device)
    shard_model(model, device)
    return model


def check_sharding(config: Config) -> None:
    """See whether a sharded training of a causal language model can do what is asked for.

    Raises:
        ModelError: a line for each key that it cannot.
    """
    if config.ray.sharding is None:
        return
    if not pytorch_can_shard():
        raise ModelError(TOO_OLD)
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
            config.alignment.row_weighting == "none",
            "alignment.row_weighting: rows are scored by whole models; with fsdp set it to none",
        ),
        (
            config.model.quantization is None,
            "model.quantization: quantised weights cannot be sharded; remove it, or ray.sharding",
        ),
        (
            config.train.method != "setfit",
            "train.method: setfit trains whole encoders; with fsdp use another one",
        ),
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


def groups_of(blocks: list[nn.Module]) -> list[list[nn.Module]]:
    """Neighbouring blocks that are gathered together: TOGETHER parameters or more, in FEWEST_GROUPS groups or more."""
    most = max(1, len(blocks) // FEWEST_GROUPS)
    groups: list[list[nn.Module]] = []
    size = TOGETHER
    for block in blocks:
        if size >= TOGETHER or len(groups[-1]) == most:
            groups.append([])
            size = 0
        groups[-1].append(block)
        size += sum(parameter.numel() for parameter in block.parameters())
    return groups


@contextmanager
def kept_between_passes(model: TaskModel) -> Iterator[None]:
    """Within it, a sharded model that is small for its device stays gathered from a forward pass to its backward pass.

    It saves every second gather. Each forward pass has to have its backward pass before parameters change. Nothing
    happens to a model that is not sharded; of one that is, all workers have to call this.
    """
    parts = _parts_of(model)
    parts = parts if parts and _takes_little(model) else []
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()  # where an error came between the two passes


def release(model: nn.Module) -> None:
    """Let go of whole parameters that a pass without a backward pass has left gathered; the next pass gathers anew."""
    for part in _parts_of(model):
        part.reshard()


def _takes_little(model: TaskModel) -> bool:
    """Whether the whole model takes little of the memory that this worker, and every other, has left for passes."""
    if model.device.type != "cuda":
        return True
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    whole = (2 if model.precision == "bfloat16" else 4) * sum(size for size, _ in sizes)
    own = sum(size for size, trained in sizes if trained) // torch.distributed.get_world_size()
    room = torch.cuda.mem_get_info(model.device)[0] - STATE * own
    short = torch.tensor(float(whole > KEPT_SHARE * room), device=model.device)
    torch.distributed.all_reduce(short)
    return short.item() == 0


def _parts_of(model: nn.Module) -> list[Any]:
    """The modules that FSDP gathers and shards again."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


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
