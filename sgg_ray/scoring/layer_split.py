"""Which parameter of a model belongs to which layer."""

import re

_NUMBER = re.compile(r"\.(\d+)\.")  # encoder.layer.3.…, model.layers.3.…, h.3.…
EMBEDDINGS, OTHER = "embeddings", "other"


def layer_of(name: str) -> str:
    """The layer of a parameter: its number, "embeddings", or "other" (a final norm, an output layer)."""
    found = _NUMBER.search(f".{name}")
    if found:
        return found[1]
    return EMBEDDINGS if "embed" in name or re.search(r"\bw[tp]e\b", name) else OTHER
