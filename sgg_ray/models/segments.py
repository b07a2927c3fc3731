"""Numbers of the two segments of a pair, for encoders that learnt to tell them apart by number (BERT and its kin)."""

from typing import Any

import torch
from torch import Tensor, nn

TWO_SEGMENTS = "a", "b"


def segment_numbers(input_ids: Tensor, attention_mask: Tensor, separator: int) -> Tensor:
    """0 up to the first separator, 1 behind it, 0 for padding: [B, T].

    That is what BERT's tokenizer gives for [CLS] a [SEP] b [SEP]; a text alone has zeros only. No text holds a
    separator of its own, see :func:`sgg_ray.models.batch.tokenise`.

    Args:
        input_ids: token ids [B, T].
        attention_mask: 1 for tokens, 0 for padding [B, T].
        separator: id of the token that ends a segment.
    """
    ends = (input_ids == separator).long()
    return (ends.cumsum(1) - ends).clamp(max=1) * attention_mask


def numbers_segments(tokenizer: Any, backbone: nn.Module) -> bool:
    """Whether a model has numbers for two segments, and its tokenizer counts them as :func:`segment_numbers` does."""
    config = getattr(backbone, "config", None)
    if (getattr(config, "type_vocab_size", None) or 0) < 2 or tokenizer.sep_token_id is None:
        return False
    found = tokenizer(*TWO_SEGMENTS, return_tensors="pt")
    numbers = found.get("token_type_ids")
    if numbers is None:
        return False
    own = segment_numbers(found["input_ids"], found["attention_mask"], tokenizer.sep_token_id)
    return bool(torch.equal(own, numbers))
