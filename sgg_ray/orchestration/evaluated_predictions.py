"""What a model makes of the test rows, for either kind of target: kept in files, measured, compared, listed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.evaluation import (
    AnswerScores,
    ClassificationMetrics,
    GenerationComparison,
    GenerationMetrics,
    PairedComparison,
    compare_generation,
    compare_paired,
    evaluate_classification,
    evaluate_generation,
    score_answers,
)
from sgg_ray.orchestration.train.calibration_folds import calibration_errors
from sgg_ray.tasks import Task, parts_of
from sgg_ray.training import Answers, Predicted

if TYPE_CHECKING:
    import pandas as pd

PROBABILITIES, ANSWERS = "probabilities.npy", "answers.json"
SMALLEST = 1e-12  # probability that a loss is cut at

Metrics = ClassificationMetrics | GenerationMetrics
Comparison = PairedComparison | GenerationComparison


def predicted_file(target: Task) -> str:
    """Name of the file that holds what a model makes of the target's test rows."""
    return ANSWERS if target.generates else PROBABILITIES


def save_predicted(path: Path, predicted: Predicted) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(f".{path.name}")
    if isinstance(predicted, Answers):
        part.write_text(json.dumps(predicted.to_dict(), ensure_ascii=False), encoding="utf-8")
    else:
        np.save(part, predicted)  # numpy leaves a name alone that ends with .npy
    os.replace(part, path)


def load_predicted(path: Path) -> Predicted:
    """What :func:`save_predicted` wrote."""
    if path.suffix == ".npy":
        return np.load(path)
    return Answers.from_dict(json.loads(path.read_text(encoding="utf-8")))


def find_predicted(folder: Path, prefix: str = "") -> Path | None:
    """Path of the predictions in ``folder``; None if there are none."""
    found = (folder / f"{prefix}{name}" for name in (PROBABILITIES, ANSWERS))
    return next((path for path in found if path.exists()), None)


@dataclass(frozen=True)
class EvaluatedPredictions:
    """A model's predictions of the test rows, with labels or references to measure them by."""

    target: Task
    predicted: Predicted
    scores: AnswerScores | None  # of kind generation

    @classmethod
    def of(cls, target: Task, predicted: Predicted) -> EvaluatedPredictions:
        """Compare the answers with the references; probabilities need no more."""
        scores = None
        if isinstance(predicted, Answers):
            references = target.test.completions
            scores = score_answers(predicted.texts, references, predicted.losses, predicted.tokens)
        return cls(target, predicted, scores)

    def metrics(self) -> Metrics:
        """Metrics over all test rows."""
        if self.scores is not None:
            return evaluate_generation(self.scores)
        return evaluate_classification(self._probabilities, self.target.test.labels)

    def minus(self, baseline: EvaluatedPredictions) -> Comparison:
        """The paired difference to another model on the same rows."""
        if self.scores is not None and baseline.scores is not None:
            return compare_generation(self.scores, baseline.scores)
        mine, theirs = self._probabilities.argmax(1), baseline._probabilities.argmax(1)
        return compare_paired(mine, theirs, self.target.test.labels)

    @property
    def correct(self) -> np.ndarray:
        """Whether each row's label, or text, is the true one [n]."""
        if self.scores is not None:
            return self.scores.exact
        return self._probabilities.argmax(1) == self.target.test.labels

    @property
    def losses(self) -> np.ndarray:
        """Cross-entropy of each row [n]; of a text the mean over its tokens."""
        if self.scores is not None:
            return self.scores.losses
        labels = self.target.test.labels
        right = self._probabilities[np.arange(len(labels)), labels]
        return -np.log(np.maximum(right, SMALLEST))

    def calibration(self, temperature: float) -> dict[str, float]:
        """Calibration errors of the probabilities without and with a temperature."""
        return calibration_errors(self._probabilities, self.target.test.labels, temperature)

    def frame(self) -> pd.DataFrame:
        """Table with one row per test row, as written to predictions.parquet."""
        import pandas as pd

        target, rows = self.target, self.target.test
        if self.scores is not None:
            assert isinstance(self.predicted, Answers)
            return pd.DataFrame(
                {
                    "prompt": rows.texts,
                    **(
                        {"history": [_as_messages(history) for history in rows.histories]}
                        if rows.histories
                        else {}
                    ),
                    "reference": rows.completions,
                    "generated": self.predicted.texts,
                    "loss": self.scores.losses,
                    "tokens": self.scores.tokens,
                    "exact_match": self.scores.exact,
                    "rouge_l": self.scores.rouge_l,
                }
            )
        probabilities = self._probabilities
        return pd.DataFrame(
            {
                **dict(zip(target.fields, zip(*map(parts_of, rows.texts)))),
                "label": [target.labels[number] for number in rows.labels],
                "predicted": [target.labels[number] for number in probabilities.argmax(1)],
                **{f"p_{name}": probabilities[:, number] for number, name in enumerate(target.labels)},
            }
        )

    @property
    def _probabilities(self) -> np.ndarray:
        assert isinstance(self.predicted, np.ndarray)
        return self.predicted


def final_numbers(
    metrics: Metrics, baseline: Metrics | None, comparison: Comparison | None
) -> dict[str, float]:
    """Final metrics of a training, by their names in MLflow."""
    if isinstance(metrics, GenerationMetrics):
        names = ("loss", "perplexity", "exact_match", "rouge_l")
        found = {f"test/{name}": getattr(metrics, name) for name in names}
        if isinstance(baseline, GenerationMetrics) and isinstance(comparison, GenerationComparison):
            found |= {f"test/{name}_target_only": getattr(baseline, name) for name in names}
            found["test/exact_match_gain"] = comparison.exact_match.difference
            found["test/loss_gain"] = -comparison.loss.difference
        return found
    found = {"test/accuracy": metrics.accuracy, "test/macro_f1": metrics.macro_f1}
    if isinstance(baseline, ClassificationMetrics) and isinstance(comparison, PairedComparison):
        found["test/accuracy_target_only"] = baseline.accuracy
        found["test/accuracy_gain"] = comparison.difference
    return found


def _as_messages(history: Any) -> str:
    return json.dumps([{"role": role, "content": content} for role, content in history], ensure_ascii=False)
