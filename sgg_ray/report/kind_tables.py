"""The final comparison of models that say texts, numbers or sets of labels, as headings, cells and lines below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sgg_ray.evaluation import (
    GenerationComparison,
    GenerationMetrics,
    LabelSetComparison,
    LabelSetMetrics,
    OrdinalMetrics,
    RegressionComparison,
    RegressionMetrics,
)
from sgg_ray.report.generation_table import HEADINGS, generation_caption, generation_rows

if TYPE_CHECKING:
    from sgg_ray.report.model_result import ModelResult

INTERVAL = "95 % interval"


@dataclass(frozen=True)
class KindTable:
    """A table, and what it shows in words."""

    headings: Sequence[str]
    rows: list[list[str]]
    lines: list[str]


def kind_table(results: Sequence[ModelResult]) -> KindTable | None:
    """The table of models that do not choose one label: all of them or none."""
    if not results:
        return None
    first = results[0].metrics
    if isinstance(first, GenerationMetrics):
        said = [
            (one.name, one.metrics, one.gain if isinstance(one.gain, GenerationComparison) else None)
            for one in results
            if isinstance(one.metrics, GenerationMetrics)
        ]
        return KindTable(HEADINGS, generation_rows(said), [generation_caption(first.rows)])
    if isinstance(first, RegressionMetrics):
        return _numbers(results, first)
    return _label_sets(results, first) if isinstance(first, LabelSetMetrics) else None


def _numbers(results: Sequence[ModelResult], first: RegressionMetrics) -> KindTable:
    rows = [["one number for all", f"{first.constant_mae:.3f}", "", "", "", ""]]
    for result in results:
        found = result.metrics
        assert isinstance(found, RegressionMetrics)
        rows.append(
            [
                result.name,
                f"{found.mae:.3f}",
                f"{found.mae_low:.3f} … {found.mae_high:.3f}",
                f"{found.rmse:.3f}",
                f"{found.spearman:+z.3f}",
                f"{found.spearman_low:+z.3f} … {found.spearman_high:+z.3f}",
            ]
        )
        if isinstance(gain := result.gain, RegressionComparison):
            mae, rank = gain.mae, gain.spearman
            rows.append(
                [
                    "difference",
                    f"{mae.difference:+z.3f}",
                    f"{mae.low:+z.3f} … {mae.high:+z.3f}",
                    "",
                    f"{rank.difference:+z.3f}",
                    f"{rank.low:+z.3f} … {rank.high:+z.3f}",
                ]
            )
    headings = ["model", "mean error", INTERVAL, "RMSE", "Spearman", INTERVAL]
    lines = [f"on {first.rows} test rows; mean error = mean absolute error, of which less is better"]
    return KindTable(headings, rows, lines + _verdicts(results))


def _label_sets(results: Sequence[ModelResult], first: LabelSetMetrics) -> KindTable:
    rows = [["the same labels for all", f"{100 * first.constant_micro_f1:.1f} %", "", "", ""]]
    for result in results:
        found = result.metrics
        assert isinstance(found, LabelSetMetrics)
        rows.append(
            [
                result.name,
                f"{100 * found.micro_f1:.1f} %",
                f"{100 * found.micro_f1_low:.1f} … {100 * found.micro_f1_high:.1f}",
                f"{100 * found.macro_f1:.1f} %",
                f"{100 * found.exact_match:.1f} %",
            ]
        )
        if isinstance(gain := result.gain, LabelSetComparison):
            micro, whole = gain.micro_f1, gain.exact_match
            rows.append(
                [
                    "difference",
                    f"{100 * micro.difference:+z.1f}",
                    f"{100 * micro.low:+z.1f} … {100 * micro.high:+z.1f}",
                    "",
                    f"{100 * whole.difference:+z.1f}",
                ]
            )
    headings = ["model", "micro-F1", INTERVAL, "macro-F1", "all labels right"]
    return KindTable(headings, rows, [f"on {first.rows} test rows", *_verdicts(results)])


def _verdicts(results: Sequence[ModelResult]) -> list[str]:
    lines = []
    for result in results:
        if isinstance(result.gain, RegressionComparison | LabelSetComparison):
            first, verdict = results[0].name, result.gain.verdict
            none = verdict == "no difference shown"
            lines.append(
                f"no difference between {result.name} and {first} is shown"
                if none
                else f"{result.name} is {verdict} than {first}"
            )
    return lines


def ordinal_lines(results: Sequence[ModelResult]) -> list[str]:
    """How far models are off that choose among labels with an order, a line each."""
    ordinal = [(one.name, one.metrics) for one in results if isinstance(one.metrics, OrdinalMetrics)]
    lines = [
        f"{name}: off by {found.mae:.2f} levels on average, Spearman {found.spearman:+z.2f}"
        for name, found in ordinal
    ]
    floor = [f"one level for all: off by {found.constant_mae:.2f}" for _, found in ordinal[:1]]
    return [*floor, *lines]
