"""Language models whose frozen weights are kept in 4 or 8 bits (bitsandbytes), below an adapter in float32.

QLoRA, Dettmers et al. (2023), arXiv:2305.14314. Weights are dequantised layer by layer wherever a pass needs them, so
that the loss stays a smooth function of the adapter, which is all that guidance differentiates.
"""

import importlib.util
import logging
import sys
from typing import Any

import torch
from torch import Tensor, nn

from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError

# PEFT's methods that leave the weights alone or dequantise them. Others (HRA in PEFT 0.21) compute with the integers.
ADAPTERS = ("lora", "ia3", "adalora", "vera", "oft", "prompt_tuning", "prefix_tuning", "p_tuning")
BLOCK = 64  # weights of nf4 that share a scale
PACKAGES = ("bitsandbytes", "accelerate")  # Transformers loads such weights with the help of both


def check_quantization(config: ModelConfig, own: Any = None) -> None:
    """See whether the weights of a model can be quantised on this machine, if they shall be.

    Args:
        config: the section ``model``, of a causal language model.
        own: the quantisation that the model's files have already.

    Raises:
        ModelError: they cannot.
    """
    if config.quantization is None:
        return
    key = f"model.quantization: {config.quantization}"
    if own is not None:
        raise ModelError(f"{key}, but the weights of {config.path} are quantised already; remove the key")
    if config.adapter is None:
        raise ModelError(
            f"{key}: quantised weights stay frozen, and there is no adapter to train; set model.adapter, or remove the "
            "key"
        )
    if config.adapter.peft_type.lower() not in ADAPTERS:
        raise ModelError(
            f"model.adapter.peft_type: {config.adapter.peft_type} is not for quantised weights; use one of "
            + ", ".join(ADAPTERS)
        )
    require_packages(key)


def import_bitsandbytes() -> None:
    """Import bitsandbytes, if it is installed, without code from the hub.

    On CPUs with AVX512-BF16 bitsandbytes 0.50 fetches compiled code from there while it is imported, where the package
    kernels is installed, and warns where it is not.
    """
    if "bitsandbytes" in sys.modules or importlib.util.find_spec("bitsandbytes") is None:
        return
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, hidden = logger.level, "kernels" not in sys.modules
    logger.setLevel(logging.ERROR)
    if hidden:
        sys.modules["kernels"] = None  # pyright: ignore[reportArgumentType]
    try:
        import bitsandbytes  # noqa: F401
    finally:
        logger.setLevel(level)
        if hidden:
            del sys.modules["kernels"]


def import_peft() -> Any:
    """The package peft, which imports bitsandbytes itself where that is installed."""
    import_bitsandbytes()
    import peft

    return peft


def require_packages(key: str) -> None:
    """Raise a ModelError about ``key`` where bitsandbytes is not installed, or knows no device of this machine."""
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        raise ModelError(
            f"{key} needs the package {lacking[0]}; python -m pip install 'sgg-ray[quantized]' on every node"
        )
    import_bitsandbytes()
    from transformers.integrations.bitsandbytes import validate_bnb_backend_availability

    if not validate_bnb_backend_availability():
        raise ModelError(f"{key}: bitsandbytes supports no device of this machine; remove the key")


def loading_options(scheme: str, dtype: torch.dtype, device: torch.device | str) -> dict[str, Any]:
    """What ``from_pretrained`` is told to quantise the linear layers of a model, its head excepted.

    Args:
        scheme: ``nf4``, with the blocks' scales quantised as well, or ``int8``.
        dtype: of everything else, and of the arithmetic.
        device: where the weights are quantised and stay.
    """
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(**settings_of(scheme, dtype)),
        "device_map": {"": device},
    }


def settings_of(scheme: str, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of Transformers' ``BitsAndBytesConfig``."""
    if scheme == "int8":
        return {"load_in_8bit": True}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": dtype,
    }


def prepare_quantised(model: nn.Module) -> None:
    """Make quantised layers compute the same in training and in evaluation, and smoothly, in place.

    Raises:
        ModelError: bitsandbytes would compute something else.
    """
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    from sgg_ray.models.weight_only import WeightOnlyLinear

    for module in model.modules():
        if isinstance(module, Linear8bitLt):
            module.__class__ = WeightOnlyLinear
        elif isinstance(module, Linear4bit):
            # bitsandbytes 0.50 packs weights anew at the first pass without gradients on a CPU with AVX512-BF16, and
            # gradients get lost at packed ones.
            module.support_avx512bf16_for_cpu = False  # pyright: ignore[reportAttributeAccessIssue]
            if module.weight.device.type == "cpu" and module.in_features % BLOCK:
                # bitsandbytes 0.50 dequantises them on a CPU as if each row began a block of its own.
                raise ModelError(
                    f"model.quantization: nf4 on a CPU needs layers of {BLOCK}, {2 * BLOCK}, … inputs, and one has "
                    f"{module.in_features}; use int8, or a GPU"
                )


def size_of(parameter: Tensor) -> int:
    """Number of values that a parameter stands for: packed ones hold several in each of theirs."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()
