"""What a head's scores mean: how many there are, their loss, and what they predict. One class a kind of target.

A head begins where it predicts without knowledge of the texts: classes alike, each label as often as it is among the
training rows, the mean number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sgg_ray.config import Kind
from sgg_ray.tasks import Rows, all_labelled


class Objective(Protocol):
    """Outputs, loss and predictions of a head, by the kind of the tasks that share it."""

    def outputs(self, labels: int) -> int:
        """How many scores W a head has for so many labels C."""
        ...

    def biases(self, labels: int) -> np.ndarray:
        """The scores that a head begins with, whatever the text [W]."""
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

    def biases(self, labels: int) -> np.ndarray:
        """Zeros: classes alike."""
        return np.zeros(labels)

    def targets(self, labels: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
        """One-hot rows [n, C]."""
        return np.eye(count)[labels]

    def losses(self, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """−log softmax(scores)_y."""
        return F.cross_entropy(scores, labels, reduction="none")

    def predictions(self, scores: Tensor) -> Tensor:
        """Probabilities of the labels by softmax [n, C]."""
        return scores.softmax(-1)


class Ranked:
    """Kind ordinal: a softmax over C scores; of each level k but the highest is asked whether the label lies above it.

    P(y > k) = Σ_{j > k} softmax(scores)_j. The loss is the sum of the C − 1 questions' cross-entropies: the ranked
    probability score (Epstein, 1969) with logarithms in place of squares. Questions with a sigmoid each (Frank & Hall,
    2001) were tried: being of unequal classes, they draw texts of which little is known to the levels in the middle.
    """

    def outputs(self, labels: int) -> int:
        """One score a label: C."""
        return labels

    def biases(self, labels: int) -> np.ndarray:
        """Zeros: labels alike."""
        return np.zeros(labels)

    def targets(self, labels: np.ndarray, values: np.ndarray | None, count: int) -> np.ndarray:
        """Minus the gradient of each label's loss at scores of 0 [n, C], where P(y > k) = 1 − (k + 1) / C."""
        levels = np.arange(count)
        bounds = levels[:-1, None]  # k
        above = 1 - (bounds + 1) / count
        slopes = ((levels > bounds) - above) / count  # of P(y > k) by each score [C − 1, C]
        drawn = np.where(levels > bounds, 1 / above, -1 / (1 - above))  # of −loss by P(y > k), for each label
        return (drawn.T @ slopes)[labels]

    def losses(self, scores: Tensor, labels: Tensor, values: Tensor | None) -> Tensor:
        """−Σ_k log P(y > k) or log P(y ≤ k), whichever is true."""
        chances = scores.log_softmax(1)
        at_most = chances.logcumsumexp(1)[:, :-1]
        above = chances.flip(1).logcumsumexp(1).flip(1)[:, 1:]
        is_above = labels[:, None] > torch.arange(scores.shape[1] - 1, device=scores.device)
        return -torch.where(is_above, above, at_most).sum(1)

    def predictions(self, scores: Tensor) -> Tensor:
        """Probabilities of the labels by softmax [n, C]."""
        return scores.softmax(-1)


@dataclass(frozen=True)
class Independent:
    """Kind multi_label: a sigmoid for each of C labels; the loss is the sum of their cross-entropies.

    Attributes:
        counts: training rows that have each label [C]; empty where a head does not begin here.
        rows: training rows.
        at_least_one: whether each of them has a label, so that every text is given one.
    """

    counts: tuple[float, ...] = ()
    rows: int = 0
    at_least_one: bool = False

    @classmethod
    def of(cls, rows: Rows) -> "Independent":
        """The objective for these training rows."""
        assert rows.values is not None
        return cls(tuple(rows.values.sum(axis=0).tolist()), len(rows), all_labelled(rows))

    def outputs(self, labels: int) -> int:
        """One score a label: C."""
        return labels

    def biases(self, labels: int) -> np.ndarray:
        """The log-odds of each label among the training rows, with half a row more on both sides [C]."""
        have = np.array(self.counts)
        return np.log((have + 0.5) / (self.rows - have + 0.5)) if self.counts else np.zeros(labels)

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

    def biases(self, labels: int) -> np.ndarray:
        """Zeros: the mean."""
        return np.zeros(1)

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
        return Ranked()
    if kind == "multi_label":
        return Independent() if rows is None else Independent.of(rows)
    if kind != "regression":
        return OneOfMany()
    if scale is not None:
        return Number(*scale)
    return Number() if rows is None else Number.of(rows)
