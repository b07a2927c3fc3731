"""A head that is fitted instead of trained: logistic regression on the features of the shots."""

import math
from typing import Any

import numpy as np
import torch

from sgg_ray.models import EncoderClassifier, TokenisedRows, batches_by_length

MOST_ITERATIONS = 1000


@torch.no_grad()
def fit_head(model: EncoderClassifier, rows: TokenisedRows, batch_size: int) -> None:
    """Put a logistic regression (L2, C = 1) on the unit features of ``rows`` into their head, as SetFit does.

    Where a class has no rows the head stays as it is.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(rows.labels)) < len(model.labels[rows.head]):
        return
    training = model.training
    model.eval()
    features = np.empty((len(rows), model.width), dtype=np.float64)
    for batch in batches_by_length(rows, batch_size):
        found = model.features(model.collate([(rows, int(row)) for row in batch]))
        features[batch] = found.cpu().numpy() / math.sqrt(model.width)
    model.train(training)
    take_head(model, rows.head, LogisticRegression(max_iter=MOST_ITERATIONS).fit(features, rows.labels))


def take_head(model: EncoderClassifier, head: str, regression: Any) -> None:
    """Write a logistic regression on unit features as a linear head on features of length √H."""
    weight, bias = np.asarray(regression.coef_), np.asarray(regression.intercept_)
    if len(weight) == 1:  # of two classes the regression has one logit
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    layer = model.head(head)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight / math.sqrt(model.width)))
        layer.bias.copy_(torch.from_numpy(bias))
