"""A pre-trained model that is loaded once in a process, however many trainings begin from it."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from sgg_ray.config import ModelConfig
from sgg_ray.models.backbone import find_model, load_backbone, load_tokenizer, precision_of
from sgg_ray.tasks import Text


class PretrainedModel:
    """Backbone and tokenizer of one model, and the token ids of texts that were seen before.

    Args:
        config: ``path``, ``pooling``, ``precision``, ``quantization`` and whether there is an adapter are read.
        device: where the backbone is kept, and where copies begin.

    Attributes:
        backbone: the pre-trained model; take a copy to change it.
        architecture: what the model is.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, config: ModelConfig, device: torch.device | str = "cpu"):
        origin = find_model(config.path)
        self.architecture = origin.architecture
        self.tokenizer: Any = load_tokenizer(origin.location)
        dtype = precision_of(config, origin.architecture)
        self.backbone = load_backbone(origin, config.pooling, dtype, config.quantization, device)
        self._ids: dict[int, dict[Text, np.ndarray]] = {}

    def copy(self) -> nn.Module:
        """A new backbone with the pretrained weights; training it leaves this object unchanged."""
        return copy.deepcopy(self.backbone)

    def known_ids(self, max_length: int) -> dict[Text, np.ndarray]:
        """Token ids by text, cut to ``max_length``; whoever tokenises adds to it."""
        return self._ids.setdefault(max_length, {})
