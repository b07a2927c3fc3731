"""A pre-trained model that is loaded once in a process, however many trainings begin from it."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from sgg_ray.config import ModelConfig
from sgg_ray.models.backbone import check_encoder, load_backbone, load_tokenizer


class Foundation:
    """Backbone and tokenizer of one model, and the token ids of texts that were seen before.

    Args:
        config: ``path`` and ``pooling`` are read.
        device: where the backbone is kept, and where copies begin.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, config: ModelConfig, device: torch.device | str = "cpu"):
        location = check_encoder(config.path)
        self.tokenizer: Any = load_tokenizer(location)
        self._backbone = load_backbone(location, config.pooling).to(device)
        self._ids: dict[int, dict[str, np.ndarray]] = {}

    def copy(self) -> nn.Module:
        """A backbone of its own, with the pre-trained weights."""
        return copy.deepcopy(self._backbone)

    def known_ids(self, max_length: int) -> dict[str, np.ndarray]:
        """Token ids by text, cut to ``max_length``; whoever tokenises adds to it."""
        return self._ids.setdefault(max_length, {})
