"""A trained model as a function from texts to labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sgg_ray.evaluation import scaled
from sgg_ray.models import load_model, read_temperature
from sgg_ray.training import SingleProcess, predict

if TYPE_CHECKING:
    import pandas as pd

BATCH = 64  # texts the model sees at once


class Predictor:
    """Labels texts with the model of a folder that a run left.

    Args:
        folder: ``model`` of a run folder.
        device: ``cpu``, ``cuda``; None takes a GPU if there is one.

    Raises:
        ModelError: the folder holds no such model.
    """

    def __init__(self, folder: str | Path, device: str | None = None):
        model, self.head = load_model(Path(folder))
        self.model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.labels = model.labels[self.head]
        self.temperature = read_temperature(Path(folder))  # None: the model was not calibrated

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that predictions have."""
        return ("predicted", *(f"p_{label}" for label in self.labels), "confidence")

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Probability of each label [n, C], as the model gives it: in a row, before any temperature."""
        task = self.model.task_of(self.head, texts)
        return predict(self.model, self.model.tokenise(task, task.train), BATCH, SingleProcess())

    def confidence(self, probabilities: np.ndarray) -> np.ndarray:
        """How likely each row's most probable label is right [n], after temperature scaling."""
        return scaled(probabilities, self.temperature or 1.0).max(axis=1)

    def predict(self, texts: Sequence[str]) -> "pd.DataFrame":
        """One row a text: ``predicted``, ``p_<label>`` and ``confidence``; nothing for texts without a character."""
        import pandas as pd

        usable = np.flatnonzero([bool(text.strip()) for text in texts])
        values = np.full((len(texts), len(self.labels) + 1), np.nan)
        predicted = np.full(len(texts), None, dtype=object)
        if len(usable):
            probabilities = self.probabilities([text for text in texts if text.strip()])
            values[usable] = np.column_stack([probabilities, self.confidence(probabilities)])
            predicted[usable] = np.array(self.labels, dtype=object)[probabilities.argmax(axis=1)]
        frame = pd.DataFrame(values, columns=list(self.columns[1:]))
        frame.insert(0, "predicted", pd.Series(predicted, dtype=object))
        return frame
