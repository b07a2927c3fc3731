"""What to do with a source, read off its score's interval."""

from __future__ import annotations

import math
from typing import Literal

from sgg_ray.alignment.alignment_score import Score

Verdict = Literal["helps", "unclear", "harmful", "failed"]


def verdict(score: Score | None) -> Verdict:
    """*helps* when the whole interval lies above zero, *harmful* when below, else *unclear*.

    *harmful* as well when the source contradicts one that is kept, at a head that both train.
    *failed* when there is no score or it is not finite.
    """
    if score is None or not all(map(math.isfinite, (score.value, score.low, score.high))):
        return "failed"
    if score.opposes:
        return "harmful"
    if score.low > 0.0:
        return "helps"
    return "harmful" if score.high < 0.0 else "unclear"
