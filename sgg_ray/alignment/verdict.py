"""What to do with a source, read off its score's interval."""

from __future__ import annotations

import math
from typing import Literal

from sgg_ray.alignment.score import Score

Verdict = Literal["use", "neutral", "conflict", "failed"]


def verdict(score: Score | None) -> Verdict:
    """*use* when the whole interval lies above zero, *conflict* when below, else *neutral*.

    *conflict* as well when the source pulls against one that is kept, at a head that both train.
    *failed* when there is no score or it is not finite.
    """
    if score is None or not all(map(math.isfinite, (score.value, score.low, score.high))):
        return "failed"
    if score.opposes:
        return "conflict"
    if score.low > 0.0:
        return "use"
    return "conflict" if score.high < 0.0 else "neutral"
