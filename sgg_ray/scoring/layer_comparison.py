"""Where in the model a source agrees with the target: the cosine of their gradients, layer by layer.

Both are gradients of the contrast loss at the trainable parameters of the backbone (docs/method.md). Tasks with two
or more common label names are compared under one head over these, made from the target's class means, so that a
source with wrong labels points the other way; others under heads of their own.
"""

from dataclasses import dataclass

import numpy as np
import torch

from sgg_ray.errors import TrainingError
from sgg_ray.gradients import Summariser
from sgg_ray.models import EncoderClassifier, LanguageModel, TaskModel
from sgg_ray.scoring.answer_contrasts import answer_contrasts, answer_parts, chosen_alone, classes_of
from sgg_ray.scoring.class_contrasts import (
    Part,
    backbone_contrasts,
    balanced_parts,
    class_mean_head,
)
from sgg_ray.tasks import Task

ROWS = 64  # of a source: the picture is no score, and a source's turn must stay short
SKETCH = 4096  # values for a layer
BATCH_ROWS = 32


@dataclass(frozen=True)
class LayerGradients:
    """The target's gradients by layer, which the sources' workers compare theirs with."""

    labels: tuple[str, ...]  # of the common head; empty for heads of their own
    head: np.ndarray | None  # [C, H]
    layers: dict[str, np.ndarray]  # sketches [d]


class LayerComparison:
    """Compares tasks layer by layer at the model's current parameters.

    Args:
        model: on its device.
        seed: of the choice of rows and of the sketches, the same for all tasks.
    """

    def __init__(self, model: TaskModel, seed: int):
        self.model, self.seed = model, seed

    def target(self, task: Task, labels: tuple[str, ...]) -> LayerGradients:
        """The target's gradient.

        Args:
            task: the target.
            labels: that it has in common with the sources it will be compared with; empty for none.
        """
        chosen, classes = _select(task, labels, None)
        head = None
        if labels and isinstance(self.model, EncoderClassifier):
            tokens = self.model.tokenise(task, task.train)
            head = class_mean_head(self.model, tokens, chosen, classes, len(labels), BATCH_ROWS)
        layers = self._layers(task, chosen, classes, head)
        return LayerGradients(labels, None if head is None else head.cpu().numpy(), layers)

    def source(self, task: Task, target: LayerGradients) -> dict[str, float]:
        """Cosine by layer; NaN where a gradient is zero.

        Raises:
            TrainingError: rows of one class only.
        """
        random = np.random.default_rng([self.seed, 5])
        chosen, classes = _select(task, target.labels, random)
        if len(np.unique(classes)) < 2 and not task.generates:
            raise TrainingError("rows of one class only: no contrast to compare")
        head = None if target.head is None else torch.from_numpy(target.head)
        mine = self._layers(task, chosen, classes, head)
        return {layer: _cosine(mine[layer], sketch) for layer, sketch in target.layers.items()}

    def _layers(self, task: Task, chosen, classes, head) -> dict[str, np.ndarray]:
        self.model.eval()
        task, chosen = chosen_alone(task, chosen)
        if isinstance(self.model, LanguageModel):
            answers, parts = answer_parts(self.model, task, chosen, classes, 1)
            (gradient,) = answer_contrasts(self.model, task, answers, parts, BATCH_ROWS)
        else:
            assert isinstance(self.model, EncoderClassifier)
            parts: list[Part] = balanced_parts(chosen, classes, 1)
            tokens = self.model.tokenise(task, task.train)
            present = classes if head is not None else np.unique(classes, return_inverse=True)[1]
            labels = len(head) if head is not None else int(present.max()) + 1
            (gradient,) = backbone_contrasts(
                self.model, tokens, chosen, present, labels, parts, BATCH_ROWS, head
            )
        return {
            layer: own.compressed(Summariser(own.dimension, SKETCH, self.seed)).cpu().numpy()
            for layer, own in gradient.by_layer().items()
        }


def _select(
    task: Task, labels: tuple[str, ...], random: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and classes in ``labels`` (or the task's own): all rows, or a balanced ROWS of them if drawn."""
    names = labels or task.labels
    classes = classes_of(task, names)
    if random is None:
        chosen = np.flatnonzero(classes >= 0)
    else:
        count = max(1, len(names))  # rows with completions are of one class
        order = random.permutation(len(classes))
        members = [order[classes[order] == value][: max(1, ROWS // count)] for value in range(count)]
        chosen = np.concatenate(members)
    return chosen, classes[chosen]


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second / norms) if norms > 0 else float("nan")
