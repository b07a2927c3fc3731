"""Which of two models to keep, decided on rows that neither of them was trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from sgg_ray.evaluation.calibration import fit_temperature, scaled

GUIDED, BASELINE = "guided", "target-only"
SMALLEST = 1e-12  # probability that a loss is cut at


@dataclass(frozen=True)
class HeldOutComparison:
    """A guided model and its baseline on the same held-out rows.

    Attributes:
        gain: mean cross-entropy of the baseline minus that of the guided model, in nats a row.
        low, high: Student's t interval of the gain, paired by row, at the level ``confidence``.
        accuracy, baseline_accuracy: shares of the rows, from 0 to 1.
        rows: how many.
    """

    gain: float
    low: float
    high: float
    accuracy: float
    baseline_accuracy: float
    rows: int
    confidence: float

    @property
    def verdict(self) -> Literal["better", "no difference shown", "worse"]:
        """What the interval shows of the guided model."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"

    @property
    def kept(self) -> Literal["guided", "target-only"]:
        """The guided model, unless it is shown to be worse: over many tasks it is better on average."""
        return BASELINE if self.verdict == "worse" else GUIDED

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, with what follows from them."""
        return {"model": self.kept, "verdict": self.verdict, **asdict(self)}


def compare_held_out(
    guided: np.ndarray, baseline: np.ndarray, labels: np.ndarray, confidence: float = 0.9
) -> HeldOutComparison:
    """Compare probabilities [n, C] of two models on held-out rows with labels [n].

    Cross-entropy and not accuracy: of few rows it says more. Each model's probabilities are first scaled with its own
    best temperature on these rows, so that being too sure, which calibration mends, does not decide. At a confidence of
    0.9 one in twenty guided models that are as good as their baselines is taken for worse, which costs nothing then.

    Raises ValueError for fewer than two rows or shapes that do not fit.
    """
    guided, baseline, labels = np.asarray(guided), np.asarray(baseline), np.asarray(labels)
    if guided.shape != baseline.shape or len(guided) != len(labels) or len(labels) < 2:
        raise ValueError(
            f"expected the same rows, two at least, found {guided.shape}, {baseline.shape}, {labels.shape}"
        )
    rows = np.arange(len(labels))

    def losses(probabilities: np.ndarray) -> np.ndarray:
        calibrated = scaled(probabilities, fit_temperature(probabilities, labels))
        return -np.log(np.maximum(calibrated[rows, labels], SMALLEST))

    right = (guided.argmax(1) == labels, baseline.argmax(1) == labels)
    return compare_losses(losses(guided), losses(baseline), *right, confidence)


def compare_losses(
    guided: np.ndarray,
    baseline: np.ndarray,
    right: np.ndarray,
    right_before: np.ndarray,
    confidence: float = 0.9,
) -> HeldOutComparison:
    """Compare losses [n] of two models on the same held-out rows, two at least, paired by row.

    Args:
        right: whether the guided model predicts each row right [n].
        right_before: whether the baseline does [n].
    """
    from scipy.stats import t

    difference = baseline - guided
    rows = len(difference)
    reach = float(t.ppf((1 + confidence) / 2, rows - 1) * difference.std(ddof=1) / rows**0.5)
    gain = float(difference.mean())
    return HeldOutComparison(
        gain, gain - reach, gain + reach, float(right.mean()), float(right_before.mean()), rows, confidence
    )
