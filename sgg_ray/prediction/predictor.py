"""A trained model as a function from texts to labels, or from prompts to answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sgg_ray.config import Kind
from sgg_ray.errors import DataError
from sgg_ray.evaluation import THRESHOLD, given_labels, median_level, scaled
from sgg_ray.models import LanguageModel, load_model, read_manifest
from sgg_ray.prediction.columns import (
    CONFIDENCE,
    GENERATED,
    PREDICTED,
    Column,
    prediction_columns,
    probability_column,
)
from sgg_ray.tasks import (
    COMPLETIONS,
    History,
    Rows,
    Text,
    in_one,
    is_blank,
    joined_set,
    kind_of,
    parts_of,
    without_empty_end,
)
from sgg_ray.training import SingleProcess, generate_texts, predict

if TYPE_CHECKING:
    import pandas as pd

BATCH = 64  # texts the model sees at once


class Predictor:
    """Labels texts, or answers prompts, with the model of a folder that a run left.

    Args:
        folder: ``model`` of a run folder.
        device: ``cpu``, ``cuda``; None takes a GPU if there is one.

    Raises:
        ModelError: the folder holds no such model.
    """

    def __init__(self, folder: str | Path, device: str | None = None):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model, self.head = load_model(Path(folder), device)
        self.model = model.to(device)
        self.labels = model.labels[self.head]
        self.fields = tuple(read_manifest(Path(folder)).fields)  # of each text: one, or several as a tuple
        self.kind: Kind = kind_of(self.head)
        manifest = read_manifest(Path(folder))
        self.temperature = manifest.temperature  # None: the model was not calibrated
        self.threshold = (
            THRESHOLD if manifest.threshold is None else manifest.threshold
        )  # of kind multi_label
        self.at_least_one = manifest.at_least_one

    @property
    def generates(self) -> bool:
        """Whether the model generates texts instead of labels."""
        return self.head == COMPLETIONS

    @property
    def columns(self) -> dict[str, Column]:
        """What the columns hold that predictions add to a table, by name."""
        return prediction_columns(self.kind, self.labels)

    def probabilities(self, texts: Sequence[Text]) -> np.ndarray:
        """Probability of each label [n, C], as the model gives it: in a row, before any temperature.

        Of kind regression the number of each text: [n, 1].
        """
        task = self.model.task_of(self.head, texts)
        return predict(self.model, self.model.tokenise(task, task.train), BATCH, SingleProcess())

    def answers(self, texts: Sequence[str], histories: Sequence[History] = ()) -> list[str]:
        """What the model says to each prompt, greedily.

        Args:
            histories: the messages before each text; none for prompts that stand alone.
        """
        assert isinstance(self.model, LanguageModel)
        task = self.model.task_of(self.head, texts)
        rows = Rows(tuple(texts), np.zeros(len(texts), dtype=np.int64), histories=tuple(histories))
        return generate_texts(self.model, task, rows, BATCH)

    def confidence(self, probabilities: np.ndarray) -> np.ndarray:
        """How likely each row's predicted label is right [n], after temperature scaling."""
        calibrated = scaled(probabilities, self.temperature or 1.0)
        return calibrated[np.arange(len(calibrated)), self._chosen(probabilities)]

    def _chosen(self, probabilities: np.ndarray) -> np.ndarray:
        """The predicted label of each row [n]: the most probable one, or where labels have an order the median."""
        return median_level(probabilities) if self.kind == "ordinal" else probabilities.argmax(axis=1)

    def _labelled(self, found: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of rows that have a text, from what the model says of them [n, W]."""
        if self.kind == "regression":
            return {PREDICTED: found[:, 0]}
        columns = {probability_column(name): found[:, place] for place, name in enumerate(self.labels)}
        if self.kind == "multi_label":
            given = given_labels(found, self.threshold, self.at_least_one)
            names = [joined_set([self.labels[place] for place in np.flatnonzero(row)]) for row in given]
            return {PREDICTED: np.array(names, dtype=object), **columns}
        names = np.array(self.labels, dtype=object)[self._chosen(found)]
        return {PREDICTED: names, **columns, CONFIDENCE: self.confidence(found)}

    def predict(self, texts: Sequence[Text]) -> "pd.DataFrame":
        """One row a text: ``predicted``, ``p_<label>`` and ``confidence``; nothing for texts that are blank.

        Of kind regression ``predicted`` is a number, without probabilities; of kind multi_label it holds all labels as
        ``a|b``, and ``[]`` where there is none. Of a model that answers prompts: ``generated``.

        Args:
            texts: of a model that was trained on several columns, a tuple with the value of each.

        Raises:
            DataError: they are one text, or something that is no text, or texts have more or fewer fields than those
                that the model was trained on.
        """
        import pandas as pd

        if isinstance(texts, str | bytes):  # whose characters would be taken for texts
            raise DataError("texts: found one text; give a list of texts, as in predict([text])")
        texts = [self._checked(text) for text in texts]
        if self.generates:
            return self.complete([in_one(text) for text in texts])

        usable = np.flatnonzero([not is_blank(text) for text in texts])
        columns = {
            name: np.full(len(texts), None, dtype=object) if holds == "text" else np.full(len(texts), np.nan)
            for name, holds in self.columns.items()
        }
        if len(usable):
            found = self._labelled(self.probabilities([texts[int(row)] for row in usable]))
            for name, values in found.items():
                columns[name][usable] = values
        return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})

    def _checked(self, text: Text) -> Text:
        """The text, without empty choices at its end; a gap (None, NaN), as tables have them, is blank.

        Raises:
            DataError: it is no text, or has more or fewer fields than those that the model was trained on.
        """
        import pandas as pd

        given: Any = text
        if pd.api.types.is_scalar(given) and pd.isna(given):
            text = "" if len(self.fields) == 1 else ("",) * len(self.fields)
        if not isinstance(text, str | tuple | list):
            raise DataError(
                f"texts: found {text!r}, which is no text; give texts alone, numbers as str(number)"
            )
        parts, needed = parts_of(text), len(self.fields)
        if self.kind == "multiple_choice":
            first = len(self.fields) - len(self.labels)
            parts = text = (*parts[:first], *without_empty_end(parts[first:]))
            needed = min(max(len(parts), first + 1), needed)  # some rows have fewer choices than others
        if len(parts) != needed:
            found = f"{len(parts)} in {in_one(text)[:60]!r}"
            raise DataError(
                f"texts: the model takes {', '.join(self.fields)}, found {found}; give each text as a tuple of these"
            )
        return text

    def complete(self, texts: Sequence[str], histories: Sequence[History] = ()) -> "pd.DataFrame":
        """One row a prompt: ``generated``; nothing for prompts that are blank."""
        import pandas as pd

        usable = [row for row, text in enumerate(texts) if not is_blank(text)]
        found = self.answers(
            [texts[row] for row in usable], [histories[row] for row in usable] if histories else ()
        )
        said = np.full(len(texts), None, dtype=object)
        said[usable] = found
        return pd.DataFrame({GENERATED: pd.Series(said, dtype=object)})
