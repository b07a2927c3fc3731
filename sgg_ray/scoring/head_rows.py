"""Rows of a pool at zero-initialised heads over an encoder's frozen features: everything in closed form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sgg_ray.alignment import Noise, label_name_expectation, matching, pooled_mean, within_classes
from sgg_ray.alignment.noise import pooled_metric
from sgg_ray.alignment.pooled import SEEN_SHARE
from sgg_ray.rows import (
    ContrastModel,
    LabelErrors,
    RowAlignment,
    align_rows,
    find_label_errors,
    fit_contrast,
    mean_gradient,
    opposing_rows,
    row_products,
)
from sgg_ray.rows.contrast_model import parts_of_rows
from sgg_ray.scoring.label_logits import logits_of_others, products
from sgg_ray.scoring.row_facts import two_labels
from sgg_ray.scoring.row_vectors import RowVectors
from sgg_ray.scoring.spaces import Space, comparison_space

NOISE_ROWS, NOISE_DIRECTIONS = 2048, 32  # that a source's noise is estimated from, and that are kept of it
MOST_AGAINST = 3  # shots that are named as speaking against a row


@dataclass(frozen=True)
class _Meeting:
    """Where a source's rows meet the target: residuals of both, and gradients of the target."""

    residuals: np.ndarray  # of the source's rows, in the target's labels [n, C]
    shots: np.ndarray  # of the target's shots [m, C]
    mean: np.ndarray  # the shots' mean gradient [C, H]
    preconditioned: (
        np.ndarray
    )  # the target's expected gradient times the inverse covariance of the noise [C, H]


class HeadPool:
    """A target and its sources, compared at heads over features.

    Args:
        target: features of its shots.
        sources: features of all rows of each source.
        share_labels: ``train.share_labels``.

    Raises:
        ValueError: the target's shots are of one class.
    """

    def __init__(self, target: RowVectors, sources: Sequence[RowVectors], share_labels: bool):
        self.target, self.sources = target, list(sources)
        self.spaces = {
            one.task.name: comparison_space(target.task, one.task, False, share_labels) for one in sources
        }
        own = Space(target.task.labels)
        self.spaces[target.task.name] = own
        self.models: dict[str, ContrastModel] = {}
        for one in (target, *sources):
            if one.facts is None and (one is target or two_labels(one)):
                model = fit_contrast(one.vectors, one.task.train.labels, len(one.task.labels))
            else:
                model = one.facts and one.facts.model
            if model is not None:
                self.models[one.task.name] = model
        self._expected: dict[Space, tuple[np.ndarray, np.ndarray]] = {}
        self._aligned: dict[str, RowAlignment] = {}

    def usual_influence(self) -> float:
        """Mean size of the influence of the sources' rows: its unit."""
        found = [self.alignment(one).influence for one in self.sources if one.task.name in self.models]
        return float(np.mean(np.abs(np.concatenate(found)))) or 1.0 if found else 1.0

    def label_errors(self, own: RowVectors, shares: Mapping[str, float], contradicts: bool) -> LabelErrors:
        """Probability of each row's label being wrong: from its own source's other rows, the names of the labels, the
        target's shots, and the other sources with these labels.

        Raises:
            ValueError: rows of one class.
        """
        model = self._model(own)
        evidence = [model.logits]
        if own.names is not None:
            lengths = np.linalg.norm(own.names, axis=1, keepdims=True)
            names = own.names.astype(np.float64) / np.maximum(lengths, 1e-12)
            evidence.append(products(own.vectors, model.mean, names - names.mean(axis=0)))
        if own is not self.target:
            evidence += self._said_by([self.target], own).values()
        heard = [
            one
            for one in self.sources
            if one is not own and shares.get(one.task.name, 0.0) > 0 and one.task.name in self.models
        ]
        others = [shares[name] * _scaled(found) for name, found in self._said_by(heard, own).items()]
        if others:
            evidence.append(np.sum(others, axis=0))
        # Shots are balanced by design; offsets would only be a way to explain a wrong one.
        return find_label_errors(evidence, own.task.train.labels, contradicts, offsets=own is not self.target)

    def alignment(self, own: RowVectors) -> RowAlignment:
        """Alignment and influence of each row; of a shot of the target with the other shots.

        Raises:
            ValueError: rows of one class.
        """
        meeting, model = self._meeting(own), self._model(own)
        if own is not self.target:
            if own.task.name not in self._aligned:  # asked for twice: a pass over rows that may be on disk
                self._aligned[own.task.name] = align_rows(
                    own.vectors, meeting.residuals, model.mean, meeting.mean, meeting.preconditioned
                )
            return self._aligned[own.task.name]
        found = align_rows(own.vectors, meeting.residuals, model.mean, meeting.mean, meeting.preconditioned)
        classes = own.task.train.labels
        for row in range(len(classes)):
            others = np.arange(len(classes)) != row
            if len(np.unique(classes[others])) < 2:
                continue
            rest = mean_gradient(own.vectors[others], meeting.shots[others], classes[others], model.mean)
            here = slice(row, row + 1)
            alone = align_rows(
                own.vectors[here], meeting.shots[here], model.mean, rest, meeting.preconditioned
            )
            found.cosine[row] = alone.cosine[0]
        return found

    def opposing(self, own: RowVectors) -> list[list[int]]:
        """The shots of the target with other labels whose gradients oppose each row's most: those most like it.

        A shot with the row's own label opposes it too where their texts have opposite features; nobody reading both
        would see why.
        """
        meeting = self._meeting(own)
        shots = np.asarray(self.target.vectors, dtype=np.float64) - self._model(self.target).mean
        found: list[list[int]] = []
        for part, rows in parts_of_rows(own.vectors):
            centred = rows - self._model(own).mean
            products = row_products(centred, meeting.residuals[part], shots, meeting.shots)
            differ = meeting.residuals[part] @ meeting.shots.T < 0
            found += opposing_rows(np.where(differ, products, 0.0), MOST_AGAINST)
        return found

    def shot_cosines(self, own: RowVectors) -> np.ndarray:
        """Cosines [n, m] of the gradient of each row with that of each shot; 0 where one of them is zero."""
        meeting = self._meeting(own)
        shots = np.asarray(self.target.vectors, dtype=np.float64) - self._model(self.target).mean
        theirs = np.linalg.norm(shots, axis=1) * np.linalg.norm(meeting.shots, axis=1)
        found = np.empty((len(own.vectors), len(shots)))
        for part, rows in parts_of_rows(own.vectors):
            centred, residuals = rows - self._model(own).mean, meeting.residuals[part]
            mine = np.linalg.norm(centred, axis=1) * np.linalg.norm(residuals, axis=1)
            lengths = np.maximum(np.outer(mine, theirs), 1e-300)
            found[part] = row_products(centred, residuals, shots, meeting.shots) / lengths
        return found

    def _model(self, own: RowVectors) -> ContrastModel:
        if own.task.name not in self.models:
            raise ValueError("no rows of two labels: no contrast to compare")
        return self.models[own.task.name]

    def _said_by(self, others: Sequence[RowVectors], own: RowVectors) -> dict[str, np.ndarray]:
        return logits_of_others([(one.task, self._model(one)) for one in others], own)

    def _meeting(self, own: RowVectors) -> _Meeting:
        space = self.spaces[own.task.name]
        target = self.target
        shots = _residuals(target, space.labels)
        mean = mean_gradient(target.vectors, shots, target.task.train.labels, self._model(target).mean)
        residuals = self._residuals(own, mean)
        return _Meeting(residuals, shots, mean, self._preconditioned(space, shots))

    def _residuals(self, own: RowVectors, target: np.ndarray) -> np.ndarray:
        """Residuals of the rows in the target's labels; under the best matching where the source has its own head."""
        space = self.spaces[own.task.name]
        if not space.matched:
            return _residuals(own, space.labels)
        residuals = _residuals(own, own.task.labels)
        mine = mean_gradient(own.vectors, residuals, own.task.train.labels, self._model(own).mean)
        return residuals @ matching(target, mine).T

    def _preconditioned(self, space: Space, shots: np.ndarray) -> np.ndarray:
        """The target's expected gradient given shots, sources and names, times the inverse covariance of the noise."""
        if space not in self._expected:
            vectors, names = self.target.vectors, self.target.names
            centred = np.asarray(vectors, dtype=np.float64) - self._model(self.target).mean
            examples = -shots[:, :, None] * centred[:, None, :]
            members = [
                one for one in self.sources if self.spaces[one.task.name] == space and self._usable(one)
            ]
            contrasts, noises = self._contrasts(members, space), [_noise(one) for one in members]
            expected = None
            if names is not None and members and not space.matched:
                own = names.astype(np.float64)[[self.target.task.labels.index(name) for name in space.labels]]
                length = float(np.linalg.norm(examples.mean(axis=0)))
                gradient = -(own - own.mean(axis=0)) / len(own)
                expected = label_name_expectation(gradient, contrasts, noises, length)
            estimate = pooled_mean(examples, self.target.task.train.labels, contrasts, noises, expected)
            metric = pooled_metric(noises, vectors.shape[1], SEEN_SHARE)
            self._expected[space] = estimate.mean, metric.apply(estimate.mean.T).T
        return self._expected[space][1]

    def _usable(self, one: RowVectors) -> bool:
        return one.task.name in self.models

    def _contrasts(self, members: Sequence[RowVectors], space: Space) -> list[np.ndarray]:
        found = []
        for one in members:
            labels = one.task.labels if space.matched else space.labels
            residuals = _residuals(one, labels)
            found.append(mean_gradient(one.vectors, residuals, one.task.train.labels, self._model(one).mean))
        return found


def _residuals(own: RowVectors, labels: Sequence[str]) -> np.ndarray:
    """onehot(y) − 1/C over ``labels`` [n, C]; 0 for rows with another label."""
    table = np.zeros((len(own.task.labels), len(labels)))
    for number, name in enumerate(own.task.labels):
        if name in labels:
            table[number] = -1 / len(labels)
            table[number, list(labels).index(name)] += 1
    return table[own.task.train.labels]


def _noise(own: RowVectors) -> Noise:
    chosen = np.sort(np.random.default_rng(0).permutation(len(own.vectors))[:NOISE_ROWS])
    rows = np.asarray(own.vectors[chosen], dtype=np.float64)
    return within_classes(rows, own.task.train.labels[chosen], NOISE_DIRECTIONS)


def _scaled(logits: np.ndarray) -> np.ndarray:
    return logits / max(float(np.sqrt((logits**2).mean())), 1e-300)
