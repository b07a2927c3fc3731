"""Gradients of the contrast loss, the quantity that alignment scores compare (docs/method.md).

The contrast loss of an example with features f and label y is −Σ_c (1[y = c] − 1/C)·⟨h_c, f⟩: cross-entropy whose
residual is that of a uniform prediction. Its gradient carries the labels, and none of the noise of a fitted head.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgg_ray.models import LanguageModel, PromptedRows, is_sharded
from sgg_ray.models.batch import TokenisedRows, batches_by_length
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.scoring.example_gradients import (
    MixedRowsError,
    example_gradients,
    rows_at_once,
    trained_layers,
)
from sgg_ray.scoring.loss_gradients import Gradient, LossGradients, trained, whole_gradient


@dataclass(frozen=True)
class Part:
    """A weighted set of rows whose mean gradient is one sample of a task's gradient. Weights sum to 1."""

    rows: np.ndarray  # [n] row numbers
    weights: np.ndarray  # [n]


def single_example_parts(chosen: np.ndarray) -> list[Part]:
    """One part an example: for the target, which has few."""
    return [Part(np.array([row]), np.ones(1)) for row in chosen]


def balanced_parts(chosen: np.ndarray, classes: np.ndarray, most: int) -> list[Part]:
    """Split rows into at most ``most`` parts in which every class weighs the same.

    Balance matters: the residuals of a balanced set sum to zero over the classes, so that what all examples have in
    common (the mean feature, large in most encoders) cancels, and what is left is the contrast between classes.

    Args:
        chosen: row numbers [n].
        classes: class of each of these rows [n].
        most: upper bound for the number of parts; the rarest class is another.
    """
    groups = [chosen[classes == value] for value in np.unique(classes)]
    count = max(1, min(most, *(len(group) for group in groups)))
    chunks = [np.array_split(group, count) for group in groups]
    parts = []
    for number in range(count):
        members = [group[number] for group in chunks]
        weights = [np.full(len(rows), 1 / (len(members) * len(rows))) for rows in members]
        parts.append(Part(np.concatenate(members), np.concatenate(weights)))
    return parts


def class_residuals(classes: np.ndarray, labels: int) -> Tensor:
    """onehot(y) − 1/C: [n, C]."""
    return F.one_hot(torch.from_numpy(classes), labels).float() - 1 / labels


def choice_residuals(classes: np.ndarray, scores: Tensor) -> tuple[Tensor, Tensor]:
    """onehot(y) − 1/C_i of each row's own C_i choices, and their scores: [n, C], 0 both where a row has no such choice.

    Args:
        scores: [n, C], −∞ where a row has no such choice.
    """
    there = scores.isfinite()
    right = F.one_hot(torch.from_numpy(classes), scores.shape[1]).to(scores)
    return (right - 1 / there.sum(1, keepdim=True)) * there, scores.masked_fill(~there, 0.0)


def centred(targets: np.ndarray) -> Tensor:
    """What scores are drawn to, less its mean: [n, W]. For rows without classes that could be balanced.

    Of squared error and of a sigmoid's cross-entropy this is the residual of a head that predicts the mean: what all
    examples have in common cancels, as it does for classes.

    Args:
        targets: [n, W], see ``sgg_ray.models.Objective.targets``.
    """
    return torch.from_numpy(targets - targets.mean(axis=0)).float()


@torch.no_grad()
def row_features(
    model: EncoderClassifier, rows: TokenisedRows, chosen: np.ndarray, batch_size: int
) -> Tensor:
    """Features [n, H] of the chosen rows, in their order."""
    features = torch.empty(len(chosen), model.width, device=model.device)
    place = {int(row): position for position, row in enumerate(chosen)}
    for batch in batches_by_length(rows, batch_size, chosen):
        positions = [place[int(row)] for row in batch]
        features[positions] = model.features(model.collate([(rows, int(row)) for row in batch]))
    return features


def head_contrasts(features: Tensor, chosen: np.ndarray, residuals: Tensor, parts: Sequence[Part]) -> Tensor:
    """Gradient of the contrast loss at the weights of a head with W scores: [len(parts), W·H].

    In closed form, −residual ⊗ features, so the features of one forward pass serve any number of parts.

    Args:
        features: [n, H] of the chosen rows, by :func:`row_features`.
        chosen: row numbers [n] that the parts draw from.
        residuals: of these rows [n, W], by :func:`class_residuals` or :func:`centred`.
    """
    features = features.cpu()
    place = {int(row): position for position, row in enumerate(chosen)}
    gradients = torch.empty(len(parts), residuals.shape[1] * features.shape[1])
    for number, part in enumerate(parts):
        where = [place[int(row)] for row in part.rows]
        weighted = residuals[where] * torch.from_numpy(part.weights).float().unsqueeze(1)
        gradients[number] = -(weighted.T @ features[where]).flatten()
    return gradients


def class_mean_head(
    model: EncoderClassifier,
    rows: TokenisedRows,
    chosen: np.ndarray,
    classes: np.ndarray,
    labels: int,
    batch_size: int,
) -> Tensor:
    """A head made from a task itself, [labels, H]: class means of the features minus their mean, of unit norm."""
    features = row_features(model, rows, chosen, batch_size)
    means = torch.stack(
        [features[torch.from_numpy(classes == value).to(features.device)].mean(0) for value in range(labels)]
    )
    head = means - means.mean(0)
    return head / head.norm().clamp(min=1e-12)


def backbone_contrasts(
    model: EncoderClassifier,
    rows: TokenisedRows,
    chosen: np.ndarray,
    classes: np.ndarray,
    labels: int,
    parts: Sequence[Part],
    batch_size: int,
    head: Tensor | None = None,
) -> Iterator[Gradient]:
    """Gradient of the contrast loss at the trainable parameters of the backbone, part by part.

    For tasks whose labels have no common names, hence no common head. The head is made from the task itself, see
    :func:`class_mean_head`. The gradient then says how the backbone would have to move to tell this task's classes
    apart better.

    Args:
        head: [labels, H] another head in its place, for tasks that have one in common.
    """
    if head is None:
        head = class_mean_head(model, rows, chosen, classes, labels, batch_size)
    head = head.to(model.device)
    residuals = class_residuals(classes, labels).to(model.device)
    place = {int(row): position for position, row in enumerate(chosen)}

    def scores_of(batch: np.ndarray) -> tuple[Tensor, Tensor]:
        where = [place[int(row)] for row in batch]
        return model.features(model.collate([(rows, int(row)) for row in batch])) @ head.T, residuals[where]

    yield from part_gradients(scores_of, rows, parts, model.backbone, batch_size)


def label_word_contrasts(
    model: LanguageModel, rows: PromptedRows, classes: np.ndarray, parts: Sequence[Part], batch_size: int
) -> Iterator[Gradient]:
    """Gradient of the contrast loss at all trainable parameters of a language model, part by part.

    The scores of the label words take the place of the logits. All tasks share all parameters, so their gradients
    can be compared whatever their labels are. The residual sums to zero over the labels: what the prompt alone makes
    likely cancels.

    Args:
        classes: class of each row of ``rows`` [n], all of them.
    """

    def scores_of(batch: np.ndarray) -> tuple[Tensor, Tensor]:
        (scores,) = model.scores(model.collate([(rows, int(row)) for row in batch]))
        residuals, scores = choice_residuals(classes[batch], scores)
        return scores, residuals

    def losses_of(batch: np.ndarray) -> Tensor:
        scores, residuals = scores_of(batch)
        return -(residuals * scores).sum(1)

    layers = None if is_sharded(model) else trained_layers(model)
    chosen = np.concatenate([part.rows for part in parts])
    alike = len({rows.sequences(row) for row in chosen}) == 1
    if layers is not None and alike and _saves_passes(parts, batch_size, rows_at_once(layers, batch_size)):
        with suppress(MixedRowsError):
            sizes = [parameter.numel() for _, parameter in trained(model)]
            gradients = example_gradients(layers, losses_of, chosen, batch_size)
            for part in parts:
                found = _sum_of(islice(gradients, len(part.rows)), part.weights)
                yield whole_gradient(model, found.split(sizes))
            return
    yield from part_gradients(scores_of, rows, parts, model, batch_size)


def _saves_passes(parts: Sequence[Part], batch_size: int, at_once: int) -> bool:
    """Whether there are fewer passes over single rows, ``at_once`` of them, than over parts."""
    longest = max(len(part.rows) for part in parts)
    return longest == 1 or (longest < batch_size and at_once == batch_size)


def _sum_of(gradients: Iterator[Tensor], weights: np.ndarray) -> Tensor:
    """Σ weight · gradient: [P], of as many gradients as weights [n]."""
    total = None
    for gradient, weight in zip(gradients, weights, strict=True):
        scaled = gradient * float(weight)
        total = scaled if total is None else total.add_(scaled)
    assert total is not None
    return total


def part_gradients(
    scores_of: Callable[[np.ndarray], tuple[Tensor, Tensor]],
    rows: TokenisedRows,
    parts: Sequence[Part],
    module: nn.Module,
    batch_size: int,
) -> Iterator[Gradient]:
    """Gradient of −Σ_i weight_i Σ_c residual_ic·score_ic at a module's trainable parameters, part by part.

    Args:
        scores_of: from row numbers [b] to scores and residuals [b, C].
        batch_size: rows at once, on all workers of a sharded model together.
    """
    gradients = LossGradients(module)
    for part in parts:
        weight = {int(row): float(value) for row, value in zip(part.rows, part.weights)}

        def loss_of(batch: np.ndarray, factor: float, weight: dict[int, float] = weight) -> Tensor:
            scores, residuals = scores_of(batch)
            scale = torch.tensor([factor * weight[int(row)] for row in batch], device=scores.device)
            return -(scale.unsqueeze(1) * residuals * scores).sum()

        yield gradients.of(batches_by_length(rows, batch_size, part.rows), loss_of)
