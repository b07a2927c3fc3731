"""The task model for encoders: a shared backbone and one linear head per label set."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgg_ray.models.batch import Batch, TokenisedRows, collate, tokenise
from sgg_ray.models.objectives import Objective
from sgg_ray.models.segments import numbers_segments, segment_numbers
from sgg_ray.models.task_model import TaskModel, inner_model
from sgg_ray.tasks import Rows, Task, Text


class EncoderClassifier(TaskModel):
    """Encoder + pooling + one linear head per label set, every head zero-initialised.

    Pooled features are scaled to length √H. Logits then do not depend on how large a backbone's hidden states
    happen to be, so one learning rate for heads suits all of them, and the gradient of a zero head is the
    contrast of class means of *directions*, as scoring wants it (docs/method.md, "Where gradients are compared").

    A zero head predicts uniformly and sends no gradient into the backbone in the very first step; it is also
    the same head for every seed, so that runs differ by data and dropout alone.

    Args:
        backbone: returns ``last_hidden_state`` [B, T, H] (and ``pooler_output`` for pooling ``own``).
        tokenizer: a Transformers tokenizer with a padding token.
        heads: label names by head key, see ``Task.head``.
        parts: label names by key of those label sets that have no head of their own but some outputs of the first
            head, the target's, which has these names among its labels.
        pooling: ``mean`` over real tokens, ``cls`` (first token) or ``own`` (the architecture's pooler).
        max_length: tokens kept of a text.
        precision: ``float32``, or ``bfloat16`` for autocast (parameters stay fp32).
        objectives: by head key, those that are not classification.
        known_ids: token ids by text of an earlier model with the same tokenizer and ``max_length``; added to.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer,
        heads: Mapping[str, Sequence[str]],
        *,
        pooling: str = "mean",
        max_length: int = 128,
        precision: str = "float32",
        known_ids: dict[Text, np.ndarray] | None = None,
        parts: Mapping[str, Sequence[str]] | None = None,
        objectives: Mapping[str, Objective] | None = None,
    ):
        super().__init__(
            backbone, tokenizer, heads, max_length=max_length, precision=precision, objectives=objectives
        )
        self.pooling = pooling
        self.known_ids = known_ids
        self.numbers_segments = numbers_segments(tokenizer, inner_model(backbone))
        self.width: int = backbone.config.hidden_size  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
        # Label names may hold dots, which module names must not: heads are registered by position.
        self._positions = {key: str(position) for position, key in enumerate(self.labels)}
        self.heads = nn.ModuleDict(
            {
                self._positions[key]: nn.Linear(self.width, self.objectives[key].outputs(len(names)))
                for key, names in self.labels.items()
            }
        )
        for key, names in self.labels.items():
            nn.init.zeros_(self.head(key).weight)
            biases = torch.from_numpy(self.objectives[key].biases(len(names)))
            self.head(key).bias.data.copy_(biases)
        self._outputs: dict[str, str] = {}  # name of the buffer with a part's outputs of the first head
        for number, (key, names) in enumerate((parts or {}).items()):
            self._outputs[key] = f"outputs_{number}"
            first = next(iter(self.labels.values()))
            outputs = torch.tensor([first.index(name) for name in names])
            self.register_buffer(self._outputs[key], outputs, persistent=False)

    def trunk(self) -> nn.Module | None:
        """The encoder without the PEFT adapter around it."""
        return None if self.pooling == "own" else inner_model(self.backbone)

    def head(self, key: str) -> nn.Linear:
        """The linear layer of a label set."""
        return self.heads[self._positions[key]]  # pyright: ignore[reportReturnType]

    def owner(self, key: str) -> str:
        """The label set whose head predicts for tasks with the label set ``key``."""
        return next(iter(self.labels)) if key in self._outputs else key

    def head_parameters(self, key: str) -> list[str]:
        """Names of a head's parameters in ``named_parameters()``."""
        return [f"heads.{self._positions[key]}.{name}" for name, _ in self.head(key).named_parameters()]

    def tokenise(self, task: Task, rows: Rows) -> TokenisedRows:
        """Turn rows into token ids of at most ``max_length`` tokens."""
        return tokenise(self.tokenizer, rows, task.head, self.max_length, self.known_ids)

    def collate(self, examples: Sequence[tuple[TokenisedRows, int]]) -> Batch:
        """Pad (rows, index) pairs into one batch on the model's device."""
        return collate(examples, self.tokenizer.pad_token_id).to(self.device)

    def features(self, batch: Batch) -> Tensor:
        """Pooled hidden states scaled to length √H: [B, H], fp32."""
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if batch.pairs and self.numbers_segments:
            inputs["token_type_ids"] = segment_numbers(
                batch.input_ids, batch.attention_mask, self.tokenizer.sep_token_id
            )
        with self.autocast():
            output = self.backbone(**inputs)
        if self.pooling == "own":
            pooled = output.pooler_output.float()
        else:
            # Prompt tuning puts virtual tokens in front: the text's own states are the last T.
            hidden = output.last_hidden_state[:, -batch.attention_mask.shape[1] :].float()
            if self.pooling == "cls":
                pooled = hidden[:, 0]
            else:
                mask = batch.attention_mask.unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return F.normalize(pooled, dim=-1) * self.width**0.5

    def scores(self, batch: Batch) -> list[Tensor]:
        """Logits [n, W] of each stretch under its own head."""
        features = self.features(batch)
        parts = features.split([count for _, count in batch.heads])
        return [self._logits(key, part) for (key, _), part in zip(batch.heads, parts)]

    def _logits(self, key: str, features: Tensor) -> Tensor:
        logits = self.head(self.owner(key))(features)
        return logits[:, self.get_buffer(self._outputs[key])] if key in self._outputs else logits
