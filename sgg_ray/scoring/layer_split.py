"""Which stretch of a model's flat gradient belongs to which layer."""

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_NUMBER = re.compile(r"\.(\d+)\.")  # encoder.layer.3.…, model.layers.3.…, h.3.…
EMBEDDINGS, OTHER = "embeddings", "other"


def layer_of(name: str) -> str:
    """The layer of a parameter: its number, "embeddings", or "other" (a final norm, an output layer)."""
    found = _NUMBER.search(f".{name}")
    if found:
        return found[1]
    return EMBEDDINGS if "embed" in name or re.search(r"\bw[tp]e\b", name) else OTHER


def split_by_layer(parameters: Iterable[tuple[str, nn.Parameter]], gradient: Tensor) -> dict[str, Tensor]:
    """Cut a flat gradient [P] into its layers, in the order of the model.

    Args:
        parameters: names and parameters, in the order of the gradient; frozen ones are passed over.
        gradient: of the trainable ones.
    """
    pieces: dict[str, list[Tensor]] = {}
    start = 0
    for name, parameter in parameters:
        if parameter.requires_grad:
            pieces.setdefault(layer_of(name), []).append(gradient[start : start + parameter.numel()])
            start += parameter.numel()
    if start != len(gradient):
        raise ValueError(f"the gradient has {len(gradient)} values, the trainable parameters {start}")
    return {layer: torch.cat(found) for layer, found in pieces.items()}
