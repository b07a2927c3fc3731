"""In words: which model a training keeps, and whether the test rows would have chosen the other one."""

from __future__ import annotations

from typing import Any

from sgg_ray.evaluation import BASELINE, HeldOutComparison, PairedComparison


def kept_lines(kept: HeldOutComparison | None, on_test: Any) -> list[str]:
    """What is said at the end of a training that has a baseline.

    Args:
        kept: how guided model and baseline compare on held-out shots; None if none were held out.
        on_test: the paired difference on test rows, of which only that of labels counts here; None without test rows.
    """
    if kept is None:
        return ["the guided model is kept: no shots were held out to choose by (train.calibration_folds)"]
    found = _gain(kept)
    of = f"on {kept.rows} shots that were held out in turn"
    if kept.verdict == "better":
        lines = [f"{of} guided is better than target only ({found}): guided is kept as the model"]
    elif kept.verdict == "worse":
        lines = [f"{of} guided is worse than target only ({found}): the baseline is kept as the model"]
    else:
        lines = [f"{of} no difference is shown ({found}): guided is kept as the model"]
    if isinstance(on_test, PairedComparison):
        against = "better" if kept.kept == BASELINE else "worse"
        if on_test.verdict == against:
            lines.append(
                f"the test rows disagree: there guided is {against} by {100 * abs(on_test.difference):.1f} points. "
                "The choice stays, since rows that choose a model cannot test it"
            )
    return lines


def unlabelled_line(found: HeldOutComparison) -> str:
    """What texts without labels brought, on held-out shots: the average with what was learnt from them and without."""
    of = f"on {found.rows} held-out shots"
    if found.verdict == "better":
        return f"{of} the average is better with what was learnt from unlabelled texts ({_gain(found)})"
    if found.verdict == "worse":
        return (
            f"{of} the average is worse with what was learnt from unlabelled texts ({_gain(found)}): "
            "it is left out of the model"
        )
    return f"{of} unlabelled texts make no difference that is shown ({_gain(found)})"


def _gain(found: HeldOutComparison) -> str:
    return f"{found.gain:+.2f} nats a row, {100 * found.confidence:g} % interval {found.low:+.2f} … {found.high:+.2f}"
