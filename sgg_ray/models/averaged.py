"""Several trained encoders as one task model, which predicts the weighted mean of their probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgg_ray.models.batch import Batch, TokenisedRows
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.models.task_model import TaskModel
from sgg_ray.tasks import Rows, Task


class AveragedModel(TaskModel):
    """Members with the same tokenizer and the same labels of the target; it is not trained any more.

    Args:
        members: the first one is the most important, and stands for all where only one can.
        shares: of each member's probabilities, above 0 and summing to 1.

    Raises:
        ValueError: no members, or shares that do not fit them.
    """

    def __init__(self, members: Sequence[EncoderClassifier], shares: Sequence[float]):
        if not members or len(members) != len(shares) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"{len(members)} members need a share above 0 each, 1 in all; found {list(shares)}"
            )
        first = members[0]
        super().__init__(
            first.backbone,
            first.tokenizer,
            first.labels,
            max_length=first.max_length,
            precision=first.precision,
            objectives=first.objectives,
        )
        self.members = nn.ModuleList(members)
        self.shares = tuple(float(share) for share in shares)

    def tokenise(self, task: Task, rows: Rows) -> TokenisedRows:
        """Turn rows into token ids, as every member does."""
        return self._first.tokenise(task, rows)

    def collate(self, examples: Sequence[tuple[TokenisedRows, int]]) -> Batch:
        """Pad (rows, index) pairs into one batch on the model's device."""
        return self._first.collate(examples)

    def predictions(self, batch: Batch) -> Tensor:
        """Mean of the members' probabilities, or numbers, for a batch of one task: [B, C]."""
        return torch.stack(
            [
                share * member.predictions(batch)  # pyright: ignore[reportCallIssue]
                for share, member in zip(self.shares, self.members)
            ]
        ).sum(0)

    def scores(self, batch: Batch) -> list[Tensor]:
        """Logarithms of the mean probabilities [n, C], for a batch of one task."""
        found = self.predictions(batch)
        return [found.clamp(min=torch.finfo(found.dtype).tiny).log()]

    @property
    def _first(self) -> EncoderClassifier:
        first = self.members[0]
        assert isinstance(first, EncoderClassifier)
        return first
