"""Rows of a pool at zero-initialised heads over an encoder's frozen features: everything in closed form."""

from collections.abc import Mapping, Sequence

import numpy as np

from sgg_ray.alignment import label_name_expectation, matching, pooled_mean
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
)
from sgg_ray.scoring.head_pass import Group, Meeting, RowReading, projected, read_rows
from sgg_ray.scoring.label_logits import Voice, voice_of
from sgg_ray.scoring.row_facts import noise_of, two_labels
from sgg_ray.scoring.row_vectors import RowVectors
from sgg_ray.scoring.spaces import Space, comparison_space

NAMES = ""  # of a group of directions: what the labels are called; no task has this name


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
        self._expected: dict[Space, np.ndarray] = {}
        self._last: tuple[str, RowReading, dict[str, Voice]] | None = None

    def label_errors(self, own: RowVectors, shares: Mapping[str, float], contradicts: bool) -> LabelErrors:
        """Probability of each row's label being wrong: from its own source's other rows, the names of the labels, the
        target's shots, and the other sources with these labels.

        Raises:
            ValueError: rows of one class.
        """
        evidence = [self._model(own).logits]
        reading, voices = self._read(own)
        if own.names is not None:
            evidence.append(reading.spoken[NAMES])
        labels, target = len(own.task.labels), self.target.task.name
        if target in voices:
            evidence.append(voices[target].logits(reading.spoken[target], labels))
        others = [
            shares[name] * _scaled(voice.logits(reading.spoken[name], labels))
            for name, voice in voices.items()
            if name != target and shares.get(name, 0.0) > 0
        ]
        if others:
            evidence.append(np.sum(others, axis=0))
        # Shots are balanced by design; offsets would only be a way to explain a wrong one.
        return find_label_errors(evidence, own.task.train.labels, contradicts, offsets=own is not self.target)

    def alignment(self, own: RowVectors) -> RowAlignment:
        """Alignment and influence of each row; of a shot of the target with the other shots.

        Raises:
            ValueError: rows of one class.
        """
        found = self._read(own)[0].alignment
        if own is not self.target:
            return found
        meeting, model = self._meeting(own), self._model(own)
        classes, cosine = own.task.train.labels, found.cosine.copy()
        for row in range(len(classes)):
            others = np.arange(len(classes)) != row
            if len(np.unique(classes[others])) < 2:
                continue
            residuals = meeting.shot_residuals
            rest = mean_gradient(own.vectors[others], residuals[others], classes[others], model.mean)
            here = slice(row, row + 1)
            alone = align_rows(own.vectors[here], residuals[here], model.mean, rest, meeting.preconditioned)
            cosine[row] = alone.cosine[0]
        return RowAlignment(cosine, found.influence)

    def opposing(self, own: RowVectors) -> np.ndarray:
        """The shots of the target with other labels whose gradients oppose each row's most, those most like it
        [n, MOST_AGAINST]; −1 for none."""
        return self._read(own)[0].against

    def shot_cosines(self, own: RowVectors) -> np.ndarray:
        """Cosines [n, m] of the gradient of each row with that of each shot; 0 where one of them is zero."""
        meeting = self._meeting(own)
        theirs = np.linalg.norm(meeting.shots, axis=1) * np.linalg.norm(meeting.shot_residuals, axis=1)
        agreement = meeting.table @ meeting.shot_residuals.T
        mine = np.linalg.norm(meeting.table, axis=1)[own.task.train.labels]
        found = np.empty((len(own.vectors), len(meeting.shots)))
        groups: dict[str, Group] = {"shots": (meeting.shots, None)}
        for part, products, lengths in projected(own.vectors, meeting.mean, groups):
            scale = np.maximum(np.outer(lengths * mine[part], theirs), 1e-300)
            found[part] = products["shots"] * agreement[own.task.train.labels[part]] / scale
        return found

    def _read(self, own: RowVectors) -> tuple[RowReading, dict[str, Voice]]:
        """The rows of a task as one pass finds them, and who speaks of them; kept until another task is read."""
        if self._last is None or self._last[0] != own.task.name:
            voices: dict[str, Voice] = {}
            for one in (self.target, *self.sources):
                model = self.models.get(one.task.name)
                voice = model and voice_of(one.task, model, own.task.labels)
                if voice and one.task.name != own.task.name:
                    voices[one.task.name] = voice
            groups: dict[str, Group] = {name: (one.columns, one.offset) for name, one in voices.items()}
            if own.names is not None:
                lengths = np.linalg.norm(own.names, axis=1, keepdims=True)
                names = own.names.astype(np.float64) / np.maximum(lengths, 1e-12)
                groups[NAMES] = names - names.mean(axis=0), None
            reading = read_rows(own.vectors, own.task.train.labels, self._meeting(own), groups)
            self._last = own.task.name, reading, voices
        return self._last[1], self._last[2]

    def _model(self, own: RowVectors) -> ContrastModel:
        if own.task.name not in self.models:
            raise ValueError("no rows of two labels: no contrast to compare")
        return self.models[own.task.name]

    def _meeting(self, own: RowVectors) -> Meeting:
        space, target, model = self.spaces[own.task.name], self.target, self._model(own)
        theirs = _table(target, space.labels)
        gradient = self._gradient(target, theirs)
        table = _table(own, own.task.labels if space.matched else space.labels)
        if space.matched:
            table = table @ matching(gradient, self._gradient(own, table)).T
        shots = np.asarray(target.vectors, dtype=np.float64) - self._model(target).mean
        residuals = theirs[target.task.train.labels]
        return Meeting(model.mean, table, gradient, self._preconditioned(space), shots, residuals)

    def _gradient(self, own: RowVectors, table: np.ndarray) -> np.ndarray:
        """Mean gradient [C, H] of a task's rows, every class weighing the same.

        Args:
            table: residual of a row by its class [L, C].
        """
        present = np.unique(own.task.train.labels)
        model = self._model(own)
        return -table[present].T @ (model.class_means[present] - model.mean) / len(present)

    def _preconditioned(self, space: Space) -> np.ndarray:
        """The target's expected gradient given shots, sources and names, times the inverse covariance of the noise."""
        if space not in self._expected:
            vectors, names = self.target.vectors, self.target.names
            shots = _table(self.target, space.labels)[self.target.task.train.labels]
            centred = np.asarray(vectors, dtype=np.float64) - self._model(self.target).mean
            examples = -shots[:, :, None] * centred[:, None, :]
            members = [
                one
                for one in self.sources
                if self.spaces[one.task.name] == space and one.task.name in self.models
            ]
            contrasts = [
                self._gradient(one, _table(one, one.task.labels if space.matched else space.labels))
                for one in members
            ]
            noises = [one.facts.noise if one.facts and one.facts.noise else noise_of(one) for one in members]
            expected = None
            if names is not None and members and not space.matched:
                own = names.astype(np.float64)[[self.target.task.labels.index(name) for name in space.labels]]
                length = float(np.linalg.norm(examples.mean(axis=0)))
                gradient = -(own - own.mean(axis=0)) / len(own)
                expected = label_name_expectation(gradient, contrasts, noises, length)
            estimate = pooled_mean(examples, self.target.task.train.labels, contrasts, noises, expected)
            metric = pooled_metric(noises, vectors.shape[1], SEEN_SHARE)
            self._expected[space] = metric.apply(estimate.mean.T).T
        return self._expected[space]


def _table(own: RowVectors, labels: Sequence[str]) -> np.ndarray:
    """onehot(y) − 1/C over ``labels`` by the class of a row [L, C]; 0 for a class that is another label."""
    table = np.zeros((len(own.task.labels), len(labels)))
    for number, name in enumerate(own.task.labels):
        if name in labels:
            table[number] = -1 / len(labels)
            table[number, list(labels).index(name)] += 1
    return table


def _scaled(logits: np.ndarray) -> np.ndarray:
    return logits / max(float(np.sqrt((logits**2).mean())), 1e-30)
