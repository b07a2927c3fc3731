"""Rows of a pool from their sketched gradients: of language models, whose tasks share all parameters.

A contrast gradient has the row's label in it. With two labels the other label's gradient is its negative, so the inner
product with the other rows' mean gradient is a logit of the label. With more labels, or completions, it tells how much
the rest of the task speaks for the row as it stands, against all else.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sgg_ray.rows import (
    ContrastModel,
    LabelErrors,
    RowAlignment,
    align_gradients,
    find_label_errors,
    opposing_rows,
)
from sgg_ray.rows.contrast_model import parts_of_rows
from sgg_ray.scoring.head_pass import MOST_AGAINST
from sgg_ray.scoring.row_vectors import RowVectors


class GradientPool:
    """A target and its sources, compared over all trainable parameters.

    Args:
        target: sketched gradients of its shots.
        sources: those of all rows of each source.
    """

    def __init__(self, target: RowVectors, sources: Sequence[RowVectors]):
        self.target, self.sources = target, list(sources)
        self.models: dict[str, ContrastModel] = {}  # there are none
        self.weights = {one.task.name: _balanced(one) for one in (target, *sources)}
        self.means = {
            one.task.name: sum(
                (self.weights[one.task.name][part] @ rows for part, rows in parts_of_rows(one.vectors)),
                np.zeros(one.vectors.shape[1]),
            )
            for one in (target, *sources)
        }

    def label_errors(self, own: RowVectors, shares: Mapping[str, float], contradicts: bool) -> LabelErrors:
        """Probability that each row's label, or completion, is wrong."""
        margins = [self._left_out(own)]
        if own is not self.target:
            margins.append(align_gradients(own.vectors, self.means[self.target.task.name]).influence)
        others = [
            shares[one.task.name] * _unit(self.means[one.task.name])
            for one in self.sources
            if one is not own and shares.get(one.task.name, 0.0) > 0
        ]
        if others:
            margins.append(align_gradients(own.vectors, np.sum(others, axis=0)).influence)
        two = len(own.task.labels) == 2
        classes = own.task.train.labels if two else np.zeros(len(own.vectors), dtype=np.int64)
        rows = np.arange(len(classes))
        evidence = []
        for margin in margins:
            logits = np.repeat(-margin[:, None], 2, axis=1)
            logits[rows, classes] = margin
            evidence.append(logits)
        found = find_label_errors(evidence, classes, contradicts, offsets=two)
        suggested = found.suggested if two else np.full(len(classes), -1, dtype=np.int64)
        return LabelErrors(found.wrong, suggested, found.rate, found.strengths)

    def alignment(self, own: RowVectors) -> RowAlignment:
        """Alignment and influence of each row; of a shot of the target with the other shots."""
        mean = self.means[self.target.task.name]
        if own is not self.target:
            return align_gradients(own.vectors, mean)
        weights = self.weights[own.task.name]
        parts = [
            align_gradients(row[None], mean - weight * row)
            for row, weight in zip(np.asarray(own.vectors), weights)
        ]
        return RowAlignment(
            np.concatenate([one.cosine for one in parts]), np.concatenate([one.influence for one in parts])
        )

    def opposing(self, own: RowVectors) -> np.ndarray:
        """The shots of the target whose gradients oppose each row's most [n, MOST_AGAINST]; −1 for none."""
        shots = np.asarray(self.target.vectors, dtype=np.float64)
        return np.concatenate(
            [opposing_rows(rows @ shots.T, MOST_AGAINST) for _, rows in parts_of_rows(own.vectors)]
        )

    def shot_cosines(self, own: RowVectors) -> np.ndarray:
        """Cosines [n, m] of the gradient of each row with that of each shot; 0 where one of them is zero."""
        shots = np.asarray(self.target.vectors, dtype=np.float64)
        theirs = np.linalg.norm(shots, axis=1)
        return np.concatenate(
            [
                (rows @ shots.T) / np.maximum(np.outer(np.linalg.norm(rows, axis=1), theirs), 1e-300)
                for _, rows in parts_of_rows(own.vectors)
            ]
        )

    def _left_out(self, own: RowVectors) -> np.ndarray:
        """Inner product of each row with the mean gradient of the others [n]."""
        squares = np.concatenate([(rows**2).sum(axis=1) for _, rows in parts_of_rows(own.vectors)])
        whole = align_gradients(own.vectors, self.means[own.task.name]).influence
        return whole - self.weights[own.task.name] * squares


def _balanced(own: RowVectors) -> np.ndarray:
    """Weights [n] of the rows in the mean in which every class weighs the same."""
    counts = np.bincount(own.task.train.labels)
    return 1 / ((counts > 0).sum() * counts[own.task.train.labels])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-300)
