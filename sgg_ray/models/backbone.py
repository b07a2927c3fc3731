"""Load a pre-trained model, its tokenizer and, if asked for, a PEFT adapter."""

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sgg_ray.config import ModelConfig
from sgg_ray.errors import ModelError
from sgg_ray.models.architecture import Architecture, architecture_of
from sgg_ray.models.locate import locate_model
from sgg_ray.models.model_files import check_model_files, check_settings
from sgg_ray.models.quantised import import_peft, loading_options, prepare_quantised, require_packages
from sgg_ray.models.transformers_output import first_line, quiet_transformers, refused


@dataclass(frozen=True)
class Origin:
    """Where a pre-trained model lies on this machine, and what it is."""

    location: str  # folder or hub id
    architecture: Architecture


def find_model(path: str) -> Origin:
    """Find out from its configuration alone what model ``path`` is, and where.

    Raises:
        ModelError: nothing there, not readable, needs code of its own, or neither encoder nor language model.
    """
    from transformers import AutoConfig, PretrainedConfig

    location = locate_model(path)
    check_model_files(location)
    with refused(
        f"model.path: {path} cannot be read as a Transformers model",
        "give a folder with config.json, a hub id that this machine can reach, or package://module/folder",
    ):
        check_settings(PretrainedConfig.get_config_dict(location)[0], f"{path}/config.json")
        config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    return Origin(location, architecture_of(config, path))


def load_tokenizer(location: str):
    """Load the tokenizer that lies beside the model.

    Many causal models pad with nothing: the token that ends a text is taken instead, which attention masks hide.

    Raises:
        ModelError: there is none, or it has no padding token and no other to take.
    """
    from transformers import AutoTokenizer

    check_model_files(location)
    with refused(
        f"model.path: {location} has no tokenizer that Transformers can read",
        "save one beside the model with tokenizer.save_pretrained",
    ):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        # Transformers 5 asks for the unknown token without end where not even that is in the vocabulary.
        _require_special(tokenizer, location)
    return tokenizer


def _require_special(tokenizer: Any, location: str) -> None:
    """Raise ModelError unless there are words, and a padding token or another to take for it."""
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        # Without its files, Transformers 5 makes a tokenizer that knows no words instead of raising.
        raise ModelError(
            f"model.path: {location} has no tokenizer (or an empty one); save one beside the model with "
            "tokenizer.save_pretrained"
        )
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"model.path: the tokenizer of {location} has no padding token; set tokenizer.pad_token"
        )


def load_backbone(
    origin: Origin,
    pooling: str,
    dtype: torch.dtype = torch.float32,
    quantization: str | None = None,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Load a model from safetensors, without code from the hub; a language model with its output layer.

    A pooler that the chosen pooling does not use is dropped: its parameters would never see a gradient.

    Args:
        dtype: of the weights, and of the arithmetic with quantised ones.
        quantization: in how few bits weights are kept, as ``model.quantization`` says.
        device: where they are.

    Raises:
        ModelError: the weights are missing or not safetensors, or ``pooling: own`` and the encoder has no pooler, or
            weights cannot be quantised on this machine.
    """
    import transformers

    check_model_files(origin.location)
    kind = getattr(transformers, origin.architecture.auto_class)
    options: dict[str, Any] = {"dtype": dtype}
    if quantization is not None:
        require_packages(f"model.quantization: {quantization}")
        options |= loading_options(quantization, dtype, device)
    backbone: Any
    with (
        refused(
            f"model.path: the weights of {origin.location} cannot be loaded",
            "only safetensors files are read: convert others once with model.save_pretrained",
        ),
        quiet_transformers(),
    ):
        backbone = kind.from_pretrained(
            origin.location, trust_remote_code=False, use_safetensors=True, **options
        )
    if origin.architecture is Architecture.ENCODER:
        choose_pooler(backbone, origin.location, pooling)
    if quantization is None:
        return backbone.to(device)
    prepare_quantised(backbone)
    return backbone


def precision_of(config: ModelConfig, architecture: Architecture) -> torch.dtype:
    """In which precision weights are kept: frozen ones of a language model are not more precise than what computes."""
    reduced = config.adapter is not None or config.quantization is not None
    return dtype_of(config.precision) if architecture.is_language_model and reduced else torch.float32


def dtype_of(precision: str) -> torch.dtype:
    """The data type that a value of ``model.precision`` names."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def choose_pooler(backbone: Any, location: str, pooling: str) -> None:
    """Drop the pooler of a model that is not pooled by it, or raise a ModelError if there is none to use."""
    has_pooler = getattr(backbone, "pooler", None) is not None
    if pooling == "own" and not has_pooler:
        raise ModelError(
            f"model.pooling: 'own' asks for the model's pooler, but {location} has none; use mean or cls"
        )
    if pooling != "own" and has_pooler:
        backbone.pooler = None


def adapter_config(adapter: Mapping[str, Any], architecture: Architecture = Architecture.ENCODER) -> Any:
    """The PEFT configuration that ``model.adapter`` describes.

    Raises:
        ModelError: PEFT knows no such method or option.
    """
    peft = import_peft()
    options = dict(adapter)
    method = str(options.pop("peft_type")).upper()
    known = {str(kind.value): cls for kind, cls in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if method not in known:
        near = difflib.get_close_matches(method, known, n=1)
        hint = f"did you mean '{near[0].lower()}'? " if near else ""
        raise ModelError(
            f"model.adapter.peft_type: PEFT has no method '{method.lower()}'; {hint}it has: "
            + ", ".join(sorted(name.lower() for name in known))
        )
    try:
        return known[method](task_type=architecture.task_type, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.adapter: PEFT refuses {dict(adapter)} ({first_line(error)})") from error


def add_adapter(
    backbone: nn.Module, adapter: Mapping[str, Any], architecture: Architecture = Architecture.ENCODER
) -> nn.Module:
    """Freeze the backbone and wrap it with a PEFT adapter, for instance ``{peft_type: lora, r: 8}``.

    Raises:
        ModelError: PEFT finds no modules to adapt, or nothing would be trained.
    """
    peft = import_peft()
    config = adapter_config(adapter, architecture)
    try:
        with warnings.catch_warnings():
            # PEFT 0.21 asks Transformers 5 for what that has renamed.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = peft.get_peft_model(backbone, config)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"model.adapter: PEFT refuses {dict(adapter)} ({first_line(error)})") from error
    if not any(parameter.requires_grad for parameter in adapted.parameters()):
        raise ModelError(
            f"model.adapter: {dict(adapter)} leaves nothing to train; choose other target_modules"
        )
    return adapted


def freeze(backbone: nn.Module, trainable: str) -> None:
    """Leave ``all`` of the backbone trainable, its ``biases``, or nothing of it (``heads``).

    Raises:
        ModelError: biases are asked for, and there are none.
    """
    if trainable == "all":
        return
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(trainable == "biases" and name.endswith("bias"))
    if trainable == "biases" and not any(parameter.requires_grad for parameter in backbone.parameters()):
        raise ModelError("model.trainable: this model has no biases; use heads, all or an adapter")


def prepare_backbone(backbone: Any, config: ModelConfig, architecture: Architecture) -> nn.Module:
    """The backbone with adapter, frozen parts and gradient checkpointing as configured; it is changed in place."""
    if config.gradient_checkpointing:
        backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    freeze(backbone, config.trainable)
    if config.adapter is not None:
        backbone = add_adapter(backbone, config.adapter.model_dump(), architecture)
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if config.gradient_checkpointing:
            # A frozen embedding gives the first block inputs without gradients, and checkpointing then drops
            # them.
            backbone.enable_input_require_grads()
    return backbone
