"""What one training comes to, and what several come to together."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sgg_ray.models import AveragedModel, EncoderClassifier, TaskModel
from sgg_ray.training.array_predictions import ArrayPredictions
from sgg_ray.training.choice import SELF_TRAINING, Choice
from sgg_ray.training.label_predictions import LabelPredictions
from sgg_ray.training.predictions import Predictions


@dataclass(frozen=True)
class Outcome:
    """Result of one training: the model, its predictions of the test rows, counters and final shares."""

    model: TaskModel
    predictions: Predictions
    skipped_steps: int
    late_updates: int
    trainable: int  # P
    weights: dict[str, float] = field(default_factory=dict)  # of the sources, as they were at the end
    choice: Choice | None = None  # of method auto
    without_self_training: np.ndarray | None = None  # ``array`` of the other members alone, if there was any

    @property
    def array(self) -> np.ndarray:
        """What a head, or label words, give for each test row [test rows, W]; a target of completions has none."""
        assert isinstance(self.predictions, ArrayPredictions)
        return self.predictions.found

    @property
    def probabilities(self) -> np.ndarray:
        """Of the labels of each test row [test rows, C]; only a target with labels has them."""
        assert isinstance(self.predictions, LabelPredictions)
        return self.predictions.probabilities


def average(found: Sequence[Outcome], choice: Choice) -> Outcome:
    """One outcome of several: the mean of their probabilities, and the counters of all."""
    first, shares = found[0], list(choice.shares.values())
    if len(found) == 1:
        return replace(first, choice=choice)
    members = [outcome.model for outcome in found if isinstance(outcome.model, EncoderClassifier)]
    assert isinstance(first.predictions, ArrayPredictions)
    predicted = np.sum([share * outcome.array for share, outcome in zip(shares, found)], axis=0)
    without = None
    if SELF_TRAINING in choice.shares:
        own = choice.shares[SELF_TRAINING]
        without = (predicted - own * found[-1].array) / (1 - own)
    return replace(
        first,
        model=AveragedModel(members, shares),
        predictions=replace(first.predictions, found=predicted),
        skipped_steps=sum(outcome.skipped_steps for outcome in found),
        trainable=sum(outcome.trainable for outcome in found),
        choice=choice,
        without_self_training=without,
    )
