"""Scores of a comparison's splits as they are kept and sent: by what they depend on, and by source."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sgg_ray.alignment import Score
from sgg_ray.config import Config, depends_on_scores
from sgg_ray.scoring import mixture, with_weights
from sgg_ray.tasks import Task

ROWS = "rows"  # key of the weights of a source's rows beside its score, where not all rows are drawn alike
Scores = dict[str, dict[str, Any] | None]  # by source
SplitScores = dict[str, Scores]  # by what they depend on, see scoring_of()


def scoring_of(config: Config) -> str:
    """The settings of a strategy that scores depend on, as JSON. Not its model: all are scored at the file's own."""
    weighs_rows = config.alignment.row_weighting != "none"  # by what the mixture's sources say of them
    settings = {
        key: value
        for key, value in config.flat().items()
        if (depends_on_scores(key) and not key.startswith("model."))
        or (weighs_rows and key == "alignment.weighting")
    }
    return json.dumps(settings)


def shares_of(scores: Scores, weighting: str) -> dict[str, float]:
    """Shares of the mixture; what JSON has made of NaN is NaN again."""
    found = {
        name: None
        if score is None
        else Score.from_dict({key: value for key, value in score.items() if key != ROWS})
        for name, score in scores.items()
    }
    return mixture(found, weighting)


def scores_to_keep(scores: Mapping[str, Score | None], rows: Mapping[str, np.ndarray]) -> Scores:
    """Plain values for JSON.

    Args:
        rows: weights of the rows [n], by source; left out where all rows of a source are drawn alike.
    """
    found: Scores = {}
    for name, score in scores.items():
        weights = rows.get(name)
        unequal = {} if weights is None or not np.ptp(weights) else {ROWS: weights.tolist()}
        found[name] = None if score is None else {**score.to_dict(), **unequal}
    return found


def drawn(sources: list[Task], scores: Scores) -> list[Task]:
    """The sources with the rows that are drawn, by their weights."""
    found = []
    for source in sources:
        weights = (scores.get(source.name) or {}).get(ROWS)
        found += [source] if weights is None else with_weights([source], {source.name: np.array(weights)})
    return found
