"""Heads that are not learnt step by step: at what labels are called, or from a logistic regression."""

import math
from typing import Any

import numpy as np
import torch

from sgg_ray.models import EncoderClassifier, TokenisedRows
from sgg_ray.scoring.class_contrasts import class_mean_head, row_features

MOST_ITERATIONS = 1000
# How steep logits along the contrast of label names are before any shot is seen, and how unsure that is: all rows of
# five tasks give MiniLM -0.1 to 0.5 (studies/log.md).
STEEPNESS, UNSURE = 0.3, 0.3


@torch.no_grad()
def begin_at_names(
    model: EncoderClassifier, rows: TokenisedRows, names: TokenisedRows, batch_size: int
) -> float:
    """Put the contrast of what labels are called into the head of the shots; return how steep it is, κ.

    W = κE and b = −κE f̄, with E [C, H] the mean features of each label's name less those of all, of norm 1, and f̄ the
    mean of the shots' class means. κ is the only number fitted: logistic regression on the shots with a normal prior,
    mean STEEPNESS and standard deviation UNSURE. Names that say nothing about the shots get a κ near 0 once there are
    enough of them.

    Args:
        rows: the shots.
        names: the labels' names, in one sentence or more each.
    """
    training = model.training
    model.eval()
    every, labels = np.arange(len(names)), len(model.labels[rows.head])
    contrast = class_mean_head(model, names, every, names.labels, labels, batch_size).double().cpu().numpy()
    seen = _features(model, rows, batch_size)
    model.train(training)
    middle = np.mean([seen[rows.labels == value].mean(0) for value in np.unique(rows.labels)], axis=0)
    steepness = _steepness((seen - middle) @ contrast.T, rows.labels)
    layer = model.head(rows.head)
    layer.weight.copy_(torch.from_numpy(steepness * contrast))
    layer.bias.copy_(torch.from_numpy(-steepness * contrast @ middle))
    return steepness


def _steepness(logits: np.ndarray, labels: np.ndarray) -> float:
    """The κ by which logits [n, C] have to be multiplied: its most likely value, given labels [n] and the prior."""
    steepness = STEEPNESS
    for _ in range(MOST_ITERATIONS):  # Newton's method on a concave function of one number
        odds = np.exp(steepness * logits - (steepness * logits).max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        means = (odds * logits).sum(axis=1)
        slope = (logits[np.arange(len(labels)), labels] - means).sum() - (steepness - STEEPNESS) / UNSURE**2
        curvature = ((odds * logits**2).sum(axis=1) - means**2).sum() + 1 / UNSURE**2
        steepness += slope / curvature
        if abs(slope) < 1e-6 * curvature:
            break
    return float(steepness)


def _features(model: EncoderClassifier, rows: TokenisedRows, batch_size: int) -> np.ndarray:
    """Features [n, H], fp64, in the model's present mode."""
    return row_features(model, rows, np.arange(len(rows)), batch_size).double().cpu().numpy()


def take_head(model: EncoderClassifier, head: str, regression: Any) -> None:
    """Write a logistic regression on unit features as a linear head on features of length √H."""
    weight, bias = np.asarray(regression.coef_), np.asarray(regression.intercept_)
    if len(weight) == 1:  # of two classes the regression has one logit
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    layer = model.head(head)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight / math.sqrt(model.width)))
        layer.bias.copy_(torch.from_numpy(bias))
