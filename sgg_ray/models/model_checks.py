"""Find out from a model's files alone whether it can be used as configured, before anything starts."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError
from sgg_ray.models.architecture import Architecture
from sgg_ray.models.backbone import (
    Origin,
    adapter_config,
    add_adapter,
    choose_pooler,
    find_model,
    load_tokenizer,
)
from sgg_ray.models.quantised import check_quantization
from sgg_ray.models.transformers_output import first_line, refused

SPARE_PARAMETERS = 50_000_000  # that may be missing in the weights, such as a pooler's


def check_model(config: ModelConfig, max_length: int, max_new_tokens: int = 0) -> None:
    """Look at model, tokenizer, weights and adapter without loading the weights.

    Pooling and adapter are tried on the architecture without its weights (PyTorch's meta device), so that a
    module that is not there, or a rank of 0, is found here and not in the workers.

    Args:
        config: the section ``model``.
        max_length: tokens that the model has to take.
        max_new_tokens: that it has to say behind these.

    Raises:
        ModelError: the model cannot be used as configured.
    """
    origin = find_model(config.path)
    load_tokenizer(origin.location)
    stored = _check_weights(origin.location, config.path)
    skeleton = _skeleton(origin, config.path)
    own = getattr(skeleton.config, "quantization_config", None)
    check_quantization(config, own)
    _check_size(skeleton, stored, config.path)
    if origin.architecture is Architecture.ENCODER:
        choose_pooler(skeleton, origin.location, config.pooling)
    virtual = 0
    if config.adapter is not None:
        options = config.adapter.model_dump()
        found = adapter_config(options, origin.architecture)
        if found.is_prompt_learning and origin.architecture is Architecture.ENCODER_DECODER:
            raise ModelError(
                f"model.adapter.peft_type: {options['peft_type']} puts virtual tokens before a text, which is not "
                "supported for encoder-decoder models; use lora or another method that changes layers"
            )
        virtual = getattr(found, "num_virtual_tokens", None) or 0
        # Some initialisations compute with the weights and cannot be tried without them.
        with suppress(NotImplementedError, RuntimeError):
            add_adapter(skeleton, options, origin.architecture)
    positions = _positions(skeleton)
    if positions is not None and max_length + virtual + max_new_tokens > positions:
        taken = [f"the adapter's {virtual} virtual tokens"] if virtual else []
        taken += [f"the {max_new_tokens} of train.max_new_tokens"] if max_new_tokens else []
        beside = f" beside {' and '.join(taken)}" if taken else ""
        raise ModelError(
            f"train.max_length: {config.path} takes at most {positions - virtual - max_new_tokens} tokens{beside}, "
            f"found {max_length}; lower it"
        )


def _check_weights(location: str, path: str) -> int | None:
    """Read the heads of the weight files, which tell a torn file too. Weights on a hub are not looked at.

    Returns:
        Bytes of the weights; None for those on a hub.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(location)
    if not folder.is_dir():
        return None
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"model.path: {path} has no .safetensors weights, and nothing else is read; "
            "convert them once with model.save_pretrained"
        )
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"model.path: {file} is no readable safetensors file ({first_line(error)}); fetch it again"
            ) from error
    return sum(file.stat().st_size for file in files)


def _skeleton(origin: Origin, path: str) -> nn.Module:
    """The architecture with shapes and no values."""
    import transformers

    kind = getattr(transformers, origin.architecture.auto_class)
    with (
        refused(f"model.path: {path}/config.json describes no model", "fetch it again"),
        torch.device("meta"),
    ):
        config = transformers.AutoConfig.from_pretrained(origin.location, trust_remote_code=False)
        return kind.from_config(config, trust_remote_code=False)


def _check_size(skeleton: Any, stored: int | None, path: str) -> None:
    """Weights that are not in the files would be made up, in memory that the machine may not have."""
    if stored is None or getattr(skeleton.config, "quantization_config", None) is not None:
        return
    described = sum(parameter.numel() for parameter in skeleton.parameters())
    if described > stored + SPARE_PARAMETERS:
        raise ModelError(
            f"model.path: {path}/config.json describes {described:,} parameters, the weights have {stored:,} bytes; "
            "fetch both again"
        )


def _positions(backbone: nn.Module) -> int | None:
    """How many tokens a learned table of positions allows; None without such a table (relative, rotary)."""
    for name, module in backbone.named_modules():
        if name.endswith(("position_embeddings", ".wpe")) and isinstance(module, nn.Embedding):
            # RoBERTa counts positions from behind the padding's.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None
