"""From a task's rows to the gradients that alignment scores compare. No Ray in here.

Where they are compared: :mod:`sgg_ray.scoring.spaces`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from sgg_ray.alignment import Evidence, Noise, Texts, matching, text_features, within_classes
from sgg_ray.config import AlignmentConfig
from sgg_ray.errors import TrainingError
from sgg_ray.gradients import GradientSummary, Summariser
from sgg_ray.models import EncoderClassifier, LanguageModel, TaskModel, objective_of
from sgg_ray.scoring.answer_contrasts import answer_contrasts, answer_parts, chosen_alone, classes_of
from sgg_ray.scoring.class_contrasts import (
    Part,
    balanced_parts,
    centred,
    class_residuals,
    head_contrasts,
    row_features,
    single_example_parts,
)
from sgg_ray.scoring.spaces import Space
from sgg_ray.tasks import ONE_LABEL, Task, joined, label_name_rows

NOISE_DIRECTIONS = (
    32  # of a source's noise that are sent, if they fit: more of them tell no more (studies/log.md)
)
SOURCE_PARTS = 8  # samples of a source's gradient: enough to see its noise, few enough to be a small message
BATCH_ROWS = 32


@dataclass(frozen=True)
class TargetGradients:
    """What the target's worker sends to the sources' workers: one (sketched) gradient an example."""

    summary: GradientSummary
    vectors: np.ndarray  # [n, D]
    classes: np.ndarray  # [n]
    rows: int = 1  # of the matrix that a gradient is: the labels of a head
    names: np.ndarray | None = None  # gradient of the labels' names [D]; None if they have no say
    texts: Texts | None = None  # where they lie; known where there are features


@dataclass(frozen=True)
class SourceGradients:
    """What a source's worker sends back: its summary, and inner products with the target's gradients."""

    summary: GradientSummary
    evidence: Evidence
    space: Space
    rows: int = 1  # of the matrix that a gradient is: the labels of a head
    noise: Noise | None = None  # of a row of the mean gradient at a head; unknown where there is none
    texts: Texts | None = None  # where they lie; known where there are features


@dataclass(frozen=True)
class _Gradients:
    """Gradients of a task's rows, one for each part of them."""

    vectors: np.ndarray  # [parts, D], compressed
    dimension: int  # P, their length before
    parts: list[Part]
    features: np.ndarray | None  # [n, H] of the rows, where gradients are taken at a head
    rows: int = 1  # of the matrix that a gradient at a head is: its scores


@dataclass(frozen=True)
class _Kept:
    """What a source's worker has computed for any target."""

    summary: GradientSummary
    vectors: np.ndarray  # [parts, D]
    noise: Noise | None
    texts: Texts | None
    rows: int


class TaskSummariser:
    """Computes gradient summaries of tasks at the model's current parameters.

    Args:
        model: on its device; it is put into evaluation mode (dropout would add noise).
        config: how many rows of a source to use, and whether to sketch.
        seed: of the row selection and the sketch, the same for all tasks.
    """

    def __init__(self, model: TaskModel, config: AlignmentConfig, seed: int):
        self.model = model
        self.config = config
        self.seed = seed
        self._kept: dict[tuple[str, Space], _Kept] = {}

    def target(self, task: Task, space: Space, step: int) -> TargetGradients:
        """One gradient for each of the target's few examples; of rows with completions, for each pair of them."""
        chosen, classes = self._select(task, space)
        found = self._gradients(task, space, chosen, classes, None)
        summary = self._summary(task, space, step, found, len(chosen))
        strata = np.zeros(len(found.parts), dtype=np.int64) if task.generates else classes
        names = self._names(task, space)
        texts = None if found.features is None else text_features(found.features, classes)
        rows = found.rows if summary.seed is None else 1  # a gradient that is sketched has none
        return TargetGradients(summary, found.vectors, strata, rows, names, texts)

    def source(
        self, task: Task, space: Space, step: int, target: Callable[[], TargetGradients]
    ) -> SourceGradients:
        """A few class-balanced gradients of the source, and how they lie to the target's.

        Args:
            target: fetches the target's gradients; called when the source's own are done.

        Raises:
            TrainingError: the source's gradients are not finite.
        """
        kept = self._source_parts(task, space, step)
        summary, vectors = kept.summary, kept.vectors
        other = target()  # not before: its worker computes them meanwhile
        rows = kept.rows if summary.seed is None else 1
        if space.matched:
            mine, theirs = vectors.mean(axis=0), other.vectors.mean(axis=0)
            turn = matching(theirs.reshape(other.rows, -1), mine.reshape(rows, -1)).astype(np.float32)
            vectors = (turn @ vectors.reshape(len(vectors), rows, -1)).reshape(len(vectors), -1)
        evidence = Evidence(
            cross=vectors @ other.vectors.T,
            source_gram=vectors @ vectors.T,
            target_gram=other.vectors @ other.vectors.T,
            target_classes=other.classes,
        )
        return SourceGradients(summary, evidence, space, rows, kept.noise, kept.texts)

    def forget(self) -> None:
        """The model's parameters have changed: gradients that are kept are no longer true."""
        self._kept.clear()

    def _source_parts(self, task: Task, space: Space, step: int) -> _Kept:
        """Summary, noise and gradients of a source's parts; kept for the next target."""
        key = (task.name, space)
        if key not in self._kept:
            chosen, classes = self._select(task, space)
            if task.kind in ONE_LABEL and not task.generates and len(np.unique(classes)) < 2:
                raise TrainingError("rows of one class only: no contrast to compare")
            if task.train.values is not None and not np.ptp(task.train.values[chosen], axis=0).any():
                raise TrainingError("all rows have the same values: no contrast to compare")
            found = self._gradients(task, space, chosen, classes, SOURCE_PARTS)
            summary = self._summary(task, space, step, found, len(chosen))
            noise, texts = self._beside(summary, found.features, classes)
            if task.kind != "classification":
                noise = None  # its formula is that of balanced classes
            self._kept[key] = _Kept(summary, found.vectors, noise, texts, found.rows)
        return self._kept[key]

    def _select(self, task: Task, space: Space) -> tuple[np.ndarray, np.ndarray]:
        """Rows to use and their classes in the space's labels: at most ``rows``, as balanced as the task allows."""
        labels = self._labels(task, space)
        classes = classes_of(task, labels)
        if task.role == "target":
            chosen = np.flatnonzero(classes >= 0)
            return chosen, classes[chosen]
        random = np.random.default_rng([self.seed, 3])
        members = [
            random.permutation(np.flatnonzero(classes == number))
            for number in range(max(1, len(labels) if task.strata > 1 else 1))
        ]
        present = [rows for rows in members if len(rows)]
        share = max(1, self.config.rows // max(1, len(present)))
        chosen = (
            np.concatenate([rows[:share] for rows in present]) if present else np.empty(0, dtype=np.int64)
        )
        return chosen, classes[chosen]

    def _beside(
        self, summary: GradientSummary, features: np.ndarray | None, classes: np.ndarray
    ) -> tuple[Noise | None, Texts | None]:
        """What the message has room for beside the mean gradient; nothing where that is sketched."""
        if features is None or summary.seed is not None:
            return None, None
        room = (self.config.summary.size - len(summary.vector)) // features.shape[1]  # vectors of that width
        texts = text_features(features, classes) if room > 0 else None
        return within_classes(features, classes, max(0, min(NOISE_DIRECTIONS, room - 1))), texts

    def _gradients(
        self, task: Task, space: Space, chosen: np.ndarray, classes: np.ndarray, most: int | None
    ) -> _Gradients:
        """(Compressed) gradient of each part of the chosen rows.

        Args:
            most: upper bound for the number of parts; None makes them as small as can be.
        """
        self.model.eval()
        task, chosen = chosen_alone(task, chosen)
        if space.labels:
            assert isinstance(self.model, EncoderClassifier)
            parts = single_example_parts(chosen) if most is None else balanced_parts(chosen, classes, most)
            tokens = self.model.tokenise(task, task.train)
            residuals = self._residuals(task, space, chosen, classes)
            rows = residuals.shape[1]
            features = row_features(self.model, tokens, chosen, BATCH_ROWS).cpu()
            full = head_contrasts(features, chosen, residuals, parts)
            compressed = self._summariser(full.shape[1], space).compress(full)
            dimension = full.shape[1]
        else:
            features, rows = None, 1
            pieces: list[torch.Tensor] = []
            dimension = 0
            assert isinstance(self.model, LanguageModel)
            answers, parts = answer_parts(self.model, task, chosen, classes, most)
            for gradient in answer_contrasts(self.model, task, answers, parts, BATCH_ROWS):
                dimension = gradient.dimension
                pieces.append(gradient.compressed(self._summariser(dimension, space)))
            compressed = torch.stack(pieces)
        vectors = compressed.cpu().numpy().astype(np.float32)
        if not np.isfinite(vectors).all():
            raise TrainingError(f"{task.name}: gradients are not finite")
        return _Gradients(vectors, dimension, parts, None if features is None else features.numpy(), rows)

    def _residuals(self, task: Task, space: Space, chosen: np.ndarray, classes: np.ndarray) -> torch.Tensor:
        """What a head that predicts without knowledge of the texts leaves of the targets: [n, W]."""
        labels = len(self._labels(task, space))
        if task.kind == "classification":
            return class_residuals(classes, labels)
        rows = task.train.take(chosen)
        return centred(objective_of(task.kind, rows).targets(classes, rows.values, labels))

    def _names(self, task: Task, space: Space) -> np.ndarray | None:
        """Gradient of the contrast loss of the labels' own names, compressed [D]; None where they say nothing."""
        if not space.labels or not self.config.label_name_prior or task.kind != "classification":
            return None
        names = label_name_rows(space.labels)
        if names is None:
            return None
        found = self._gradients(replace(task, train=names), space, np.arange(len(names)), names.labels, 1)
        return found.vectors[0]

    @property
    def is_language_model(self) -> bool:
        """Whether the model is one, and has no heads."""
        return isinstance(self.model, LanguageModel)

    def _labels(self, task: Task, space: Space) -> tuple[str, ...]:
        """Labels of the head that the task's gradients are taken at; the task's own where there is no common head."""
        own = not space.labels or (space.matched and task.role == "source")
        return task.labels if own else space.labels

    def _summariser(self, dimension: int, space: Space) -> Summariser:
        # Matched heads need their rows, so they are not sketched: a head is small.
        kind = "exact" if space.matched else self.config.summary.kind
        return Summariser(dimension, self.config.summary.size, self.seed, kind)

    def _summary(
        self, task: Task, space: Space, step: int, found: _Gradients, examples: int
    ) -> GradientSummary:
        """Every part is a mean and weighs the same; a summary holds the sum over the examples."""
        sums = torch.from_numpy(found.vectors) * (examples / len(found.vectors))
        name = f"head {joined(self._labels(task, space))}" if space.labels else space.name
        return self._summariser(found.dimension, space).summary(task.name, name, step, sums, examples)
