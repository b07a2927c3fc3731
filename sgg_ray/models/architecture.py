"""Which architectures can be trained, and how Transformers and PEFT call them."""

from enum import Enum
from typing import Any

from sgg_ray.errors import ModelError

T5_FAMILY = ("t5", "mt5", "umt5")


class Architecture(Enum):
    """An architecture, with its name for messages, Transformers' class that loads it, and PEFT's type of task."""

    ENCODER = ("an encoder", "AutoModel", "FEATURE_EXTRACTION")
    CAUSAL = ("a causal language model", "AutoModelForCausalLM", "CAUSAL_LM")
    ENCODER_DECODER = ("an encoder-decoder model", "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM")

    def __init__(self, title: str, auto_class: str, task_type: str):
        self.title, self.auto_class, self.task_type = title, auto_class, task_type

    @property
    def is_language_model(self) -> bool:
        """Whether it is asked by prompts and answers with words, and has no heads."""
        return self is not Architecture.ENCODER


def architecture_of(config: Any, path: str) -> Architecture:
    """The architecture that a configuration of Transformers describes.

    Args:
        config: of the model.
        path: of the model, for messages.

    Raises:
        ModelError: it is one that cannot be trained here.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if masked and not getattr(config, "is_decoder", False):
        return Architecture.ENCODER
    if config.is_encoder_decoder:
        return _encoder_decoder(config, path)
    # BERT and its kin are in both lists.
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not masked:
        return Architecture.CAUSAL
    raise ModelError(
        f"model.path: {path} is of type '{config.model_type}', which is neither encoder nor language model; give one "
        "such as BERT, RoBERTa, ModernBERT or a sentence-transformers model, or Llama, Qwen, Gemma, GPT-2, T5"
    )


def start_token(config: Any) -> int | None:
    """The token that the decoder of a configuration begins with: T5's is its padding token; None if it has neither."""
    own = getattr(config, "decoder_start_token_id", None)  # T5's class has no default for it
    return config.pad_token_id if own is None else own


def _encoder_decoder(config: Any, path: str) -> Architecture:
    """Of encoder-decoder models the T5 family alone, with its decoder.

    Raises:
        ModelError: it is another one.
    """
    if config.model_type not in T5_FAMILY:
        raise ModelError(
            f"model.path: {path} is an encoder-decoder model of type '{config.model_type}', of which only "
            f"{', '.join(T5_FAMILY)} are supported; give one of these, an encoder or a causal language model"
        )
    built = config.architectures or []
    if built and not any(name.endswith("ForConditionalGeneration") for name in built):
        raise ModelError(
            f"model.path: {path} holds {built[0]}, which is no whole {config.model_type} with its decoder and output "
            "layer; give one that was saved as ForConditionalGeneration"
        )
    if start_token(config) is None:
        raise ModelError(
            f"model.path: {path}/config.json has no decoder_start_token_id, with which an answer begins; set it (0 for "
            "T5)"
        )
    return Architecture.ENCODER_DECODER
