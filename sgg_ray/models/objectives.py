"""What a head's scores mean: how many there are, their loss, and what they predict. One class a kind of target.

Scores of a zero head predict without knowledge: classes alike, every label with probability ½, the mean number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sgg_ray.config import Kind
from sgg_ray.tasks import Rows


class Objective(Protocol):
    """Outputs, loss and predictions of a head, by the kind of the tasks that share it."""

    def outputs(self, labels: int) -> int:
        """How many scores W a head has for so many labels C."""
        ...

    def targets(self, labels: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
        """What scores are drawn to [n, W], from label numbers [n] and values [n, W] of :class:`Rows`.

        Args:
            count: number of labels C.
        """
        ...

    def losses(self, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """Loss of each example [n] from scores [n, W], label numbers [n] and values [n, W]."""
        ...

    def predictions(self, scores: Tensor) -> Tensor:
        """From scores [n, W] to probabilities of the labels [n, C], or of kind regression the number [n, 1]."""
        ...


class OneOfMany:
    """Kind classification: cross-entropy of a softmax over C scores."""

    def outputs(self, labels: int) -> int:
        """One score a label: C."""
        return labels

    def targets(self, labels: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
        """One-hot rows [n, C]."""
        return np.eye(count)[labels]

    def losses(self, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """−log softmax(scores)_y."""
        return F.cross_entropy(scores, labels, reduction="none")

    def predictions(self, scores: Tensor) -> Tensor:
        """Probabilities of the labels by softmax [n, C]."""
        return scores.softmax(-1)


class Cumulative:
    """Kind ordinal: C − 1 questions, whether the label lies above the k-th level, each answered by a sigmoid.

    (Frank & Hall, 2001, "A simple approach to ordinal classification", here with one set of features.) The loss is the
    sum of the questions' cross-entropies. Answers that contradict one another, P(y > k + 1) > P(y > k), are cut.
    """

    def outputs(self, labels: int) -> int:
        """One score a question: C − 1."""
        return labels - 1

    def targets(self, labels: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
        """1 for each level that a label lies above."""
        return (labels[:, None] > np.arange(count - 1)).astype(np.float64)

    def losses(self, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """Σ_k cross-entropy of 1[y > k]."""
        above = (labels[:, None] > torch.arange(scores.shape[1], device=scores.device)).to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, above, reduction="none").sum(1)

    def predictions(self, scores: Tensor) -> Tensor:
        """P(y = k) = P(y > k − 1) − P(y > k): [n, C]."""
        above = scores.sigmoid().cummin(dim=1).values
        ends = torch.ones_like(above[:, :1])
        return torch.cat([ends, above], 1) - torch.cat([above, torch.zeros_like(ends)], 1)


class Independent:
    """Kind multi_label: a sigmoid for each of C labels; the loss is the sum of their cross-entropies."""

    def outputs(self, labels: int) -> int:
        """One score a label: C."""
        return labels

    def targets(self, labels: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
        """1 for each label of a row."""
        assert values is not None
        return values

    def losses(self, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """Σ_c cross-entropy of whether the row has label c."""
        assert values is not None
        return F.binary_cross_entropy_with_logits(scores, values.to(scores.dtype), reduction="none").sum(1)

    def predictions(self, scores: Tensor) -> Tensor:
        """Sigmoid: [n, C], rows add up to anything."""
        return scores.sigmoid()


@dataclass(frozen=True)
class Number:
    """Kind regression: half the squared error of numbers that are brought to mean 0 and standard deviation 1.

    Attributes:
        centre: mean of the numbers that are trained on.
        spread: their standard deviation.
    """

    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, rows: Rows) -> "Number":
        """The objective for these training rows."""
        assert rows.values is not None
        spread = float(rows.values.std())
        return cls(float(rows.values.mean()), spread if spread > 0 else 1.0)

    def outputs(self, labels: int) -> int:
        """One score, the number: 1."""
        return 1

    def targets(self, labels: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
        """The numbers, standardised."""
        assert values is not None
        return (values - self.centre) / self.spread

    def losses(self, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """½ (score − (value − centre) / spread)²."""
        assert values is not None
        wanted = (values - self.centre) / self.spread
        return 0.5 * (scores - wanted.to(scores.dtype)).square().sum(1)

    def predictions(self, scores: Tensor) -> Tensor:
        """centre + spread · score: [n, 1]."""
        return self.centre + self.spread * scores


def objective_of(kind: Kind, rows: Rows | None = None, scale: Sequence[float] | None = None) -> Objective:
    """The objective of a kind of target; kind generation has none of its own.

    Args:
        rows: of kind regression, the training rows that say where numbers lie, or
        scale: centre and spread, if they are known already.
    """
    if kind == "ordinal":
        return Cumulative()
    if kind == "multi_label":
        return Independent()
    if kind != "regression":
        return OneOfMany()
    if scale is not None:
        return Number(*scale)
    return Number() if rows is None else Number.of(rows)
