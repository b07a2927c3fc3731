"""Find out from a model's files alone whether it can be used as configured, before anything starts."""

from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError
from sgg_ray.models.backbone import (
    adapter_config,
    add_adapter,
    check_encoder,
    choose_pooler,
    first_line,
    load_tokenizer,
)


def check_model(config: ModelConfig, max_length: int) -> None:
    """Look at model, tokenizer, weights and adapter without loading the weights.

    Pooling and adapter are tried on the architecture without its weights (PyTorch's meta device), so that a
    module that is not there, or a rank of 0, is found here and not in the workers.

    Args:
        config: the section ``model``.
        max_length: tokens that the model has to take.

    Raises:
        ModelError: the model cannot be used as configured.
    """
    location = check_encoder(config.path)
    load_tokenizer(location)
    _check_weights(location, config.path)
    skeleton = _skeleton(location)
    choose_pooler(skeleton, location, config.pooling)
    virtual = 0
    if config.adapter is not None:
        options = config.adapter.model_dump()
        virtual = getattr(adapter_config(options), "num_virtual_tokens", None) or 0
        # Some initialisations compute with the weights and cannot be tried without them.
        with suppress(NotImplementedError, RuntimeError):
            add_adapter(skeleton, options)
    positions = _positions(skeleton)
    if positions is not None and max_length + virtual > positions:
        beside = f" beside the adapter's {virtual} virtual tokens" if virtual else ""
        raise ModelError(
            f"train.max_length: {config.path} takes at most {positions - virtual} tokens{beside}, found "
            f"{max_length}; lower it"
        )


def _check_weights(location: str, path: str) -> None:
    """Read the heads of the weight files, which tell a torn file too. Weights on a hub are not looked at."""
    from safetensors import SafetensorError, safe_open

    folder = Path(location)
    if not folder.is_dir():
        return
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


def _skeleton(location: str) -> nn.Module:
    """The architecture with shapes and no values."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    with torch.device("meta"):
        return AutoModel.from_config(config, trust_remote_code=False)


def _positions(backbone: nn.Module) -> int | None:
    """How many tokens a learned table of positions allows; None without such a table (relative, rotary)."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa counts positions from behind the padding's.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None
