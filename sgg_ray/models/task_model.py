"""What training and scoring need of a model, whatever kind it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgg_ray.models.batch import Batch, TokenisedRows
from sgg_ray.models.objectives import Objective, OneOfMany
from sgg_ray.tasks import Rows, Task, Text, kind_of


class TaskModel(nn.Module, ABC):
    """A backbone that gives every label of a task a score. Loop and scoring code know nothing else of it.

    Args:
        backbone: the pre-trained model, with its adapter if there is one.
        tokenizer: a Transformers tokenizer with a padding token.
        labels: label names by label-set key, see ``Task.head``.
        max_length: tokens kept of a row.
        precision: ``float32``, or ``bfloat16`` for autocast (trainable parameters stay fp32).
        objectives: by label-set key, those that are not classification.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: Any,
        labels: Mapping[str, Sequence[str]],
        *,
        max_length: int,
        precision: str,
        objectives: Mapping[str, Objective] | None = None,
    ):
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.labels = {key: tuple(names) for key, names in labels.items()}
        self.max_length = max_length
        self.precision = precision
        self.objectives = {key: (objectives or {}).get(key, OneOfMany()) for key in self.labels}

    @property
    def device(self) -> torch.device:
        """Device of the model's parameters."""
        return next(self.parameters()).device

    def trunk(self) -> nn.Module | None:
        """The Transformers model without a head, inside its adapter; None if what is used of it is not its last hidden
        states."""
        return None

    def owner(self, key: str) -> str:
        """The label set whose head predicts tasks with this one."""
        return key

    def head_parameters(self, key: str) -> list[str]:
        """Names in ``named_parameters()`` of what only tasks with this label set use."""
        return []

    def task_of(self, key: str, texts: Sequence[Text]) -> Task:
        """Texts without labels as the training rows of a task with the labels of this key."""
        rows = Rows(tuple(texts), np.zeros(len(texts), dtype=np.int64))
        return Task("texts", self.labels[key], rows, rows, "target", kind=kind_of(key))

    @abstractmethod
    def tokenise(self, task: Task, rows: Rows) -> TokenisedRows:
        """Make the model's inputs from a task's rows, once."""

    @abstractmethod
    def collate(self, examples: Sequence[tuple[TokenisedRows, int]]) -> Batch:
        """Make one batch on the model's device, possibly of several tasks."""

    @abstractmethod
    def scores(self, batch: Batch) -> list[Tensor]:
        """Scores, in fp32, one a label for most kinds: one tensor [n, W] for each stretch of ``batch.heads``."""

    def losses(self, batch: Batch) -> Tensor:
        """Loss of each example by its own task's objective: [B]."""
        parts, start = [], 0
        for (key, _), scores in zip(batch.heads, self.scores(batch)):
            stop = start + len(scores)
            values = None if batch.values is None else batch.values[start:stop, : scores.shape[1]]
            parts.append(self._losses_of(key, scores, batch.labels[start:stop], values))
            start = stop
        return torch.cat(parts)

    def _losses_of(self, key: str, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """Loss [n] of the examples of one label set from their scores [n, W]."""
        return self.objective(key).losses(scores, labels, values)

    def objective(self, key: str) -> Objective:
        """What the scores of a label set mean."""
        return self.objectives.get(key) or OneOfMany()

    def predictions(self, batch: Batch) -> Tensor:
        """Probabilities of the labels for a batch of one task [B, C], or of kind regression its numbers [B, 1]."""
        (scores,) = self.scores(batch)
        return self.objective(batch.heads[0][0]).predictions(scores)

    def autocast(self) -> AbstractContextManager:
        """Context manager with the model's precision; run forward passes inside it."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def inner_model(backbone: nn.Module) -> nn.Module:
    """The Transformers model inside a PEFT model, or the model itself."""
    return backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone  # pyright: ignore[reportCallIssue]


def is_sharded(model: nn.Module) -> bool:
    """Whether :func:`sgg_ray.models.shard_model` has changed the model."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())
