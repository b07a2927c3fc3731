"""How like the target's texts those of a source are: from mean features, whatever the labels are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgg_ray.alignment.noise import balanced_examples

DISTANCE = (
    2.0  # how much a squared distance of one spread takes off; 1 to 4 rank sources alike (studies/log.md)
)


@dataclass(frozen=True)
class Texts:
    """Mean and spread of a task's text features, with all classes weighted equally."""

    mean: np.ndarray  # [width]
    spread: float  # trace of the features' covariance within classes
    examples: float  # see ``balanced_examples``


def text_features(features: np.ndarray, classes: np.ndarray) -> Texts:
    """Mean and spread of features [n, width] of the classes [n]; of one example a class the spread is 0."""
    members = [features[classes == value].astype(np.float64) for value in np.unique(classes)]
    freedom = len(features) - len(members)
    squares = sum(float(((rows - rows.mean(axis=0)) ** 2).sum()) for rows in members)
    mean = np.mean([rows.mean(axis=0) for rows in members], axis=0)
    spread = squares / freedom if freedom else 0.0
    return Texts(mean.astype(np.float32), spread, balanced_examples(classes))


def domain_similarity(target: Texts, source: Texts) -> float:
    """1 / (1 + DISTANCE·d²), in (0, 1]: 1 for texts of one kind.

    d² = (‖m_t − m_s‖² − what the means of so few texts differ by on their own) / spread within classes, pooled.
    """
    examples = target.examples + source.examples
    spread = (target.examples * target.spread + source.examples * source.spread) / examples
    if not spread > 0.0:
        return 1.0
    chance = spread / target.examples + spread / source.examples
    apart = float(((target.mean.astype(np.float64) - source.mean) ** 2).sum())
    return 1.0 / (1.0 + DISTANCE * max(0.0, apart - chance) / spread)
