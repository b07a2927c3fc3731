"""What is printed: the plan, the ranked scores, the final comparison."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from sgg_ray.alignment import AlignmentReport, Score, SourceAlignment
from sgg_ray.evaluation import ClassificationMetrics, PairedComparison
from sgg_ray.report.console import print_line, print_pairs, print_table
from sgg_ray.report.kind_tables import kind_table, ordinal_lines
from sgg_ray.report.model_result import ModelResult

VERDICT_STYLES = {"helps": "green", "unclear": "yellow", "harmful": "red", "failed": "magenta"}


def print_plan(console: Console, title: str, plan: Mapping[str, object]) -> None:
    """What is going to be done, before it is."""
    print_pairs(console, title, plan)


def print_scores(console: Console, report: AlignmentReport) -> None:
    """Sources ranked by utility, best first, and what to do about them."""
    percent = f"{100 * report.confidence:g} %"
    headings = ["source", "rows", "alignment", f"{percent} interval", "utility", "share", "verdict"]
    print_line(console, _scores_title(report), style="bold")
    print_table(console, headings, [_score_row(source) for source in report.ranked()])
    for source in report.ranked():
        if source.note:
            print_line(console, f"{source.source}: {source.note}")
    print_line(console, report.advice)


def print_comparison(console: Console, results: Sequence[ModelResult], confidence: float = 0.95) -> None:
    """Accuracy and macro-F1 of every model, and its gain over the first one on the same rows.

    Of other kinds of tasks their own metrics, see :func:`kind_table`.
    """
    other = kind_table(results)
    if other is not None:
        print_table(console, other.headings, [[Text(cell) for cell in row] for row in other.rows])
        for line in other.lines:
            print_line(console, line)
        return
    percent = f"{100 * confidence:g} %"
    headings = ["model", "accuracy", f"{percent} interval", "macro-F1", "gain", f"{percent} interval", "p"]
    rows: list[list[str | Text]] = []
    for result in results:
        metrics, gain = result.metrics, result.gain
        assert isinstance(metrics, ClassificationMetrics)
        assert gain is None or isinstance(gain, PairedComparison)
        row: list[str | Text] = [
            result.name,
            f"{100 * metrics.accuracy:.1f} %",
            f"{100 * metrics.accuracy_low:.1f} … {100 * metrics.accuracy_high:.1f}",
            f"{100 * metrics.macro_f1:.1f} %",
        ]
        if gain is None:
            row += ["", "", ""]
        else:
            style = "green" if gain.low > 0 else "red" if gain.high < 0 else ""
            row += [
                Text(f"{100 * gain.difference:+z.1f}", style=style),
                f"{100 * gain.low:+z.1f} … {100 * gain.high:+z.1f}",
                f"{gain.p_value:.3f}" if gain.p_value >= 0.001 else "< 0.001",
            ]
        rows.append(row)
    if results and isinstance(results[0].metrics, ClassificationMetrics):
        rows.insert(0, ["majority class", f"{100 * results[0].metrics.majority:.1f} %", *[""] * 5])
    print_table(console, headings, rows)
    for line in conclusions(results):
        print_line(console, line)


def conclusions(results: Sequence[ModelResult]) -> list[str]:
    """What the table of classifiers shows, in words: its rows, a skewed test set, and who is better."""
    if not results or not isinstance(first := results[0].metrics, ClassificationMetrics):
        return []
    others = [result for result in results if isinstance(result.gain, PairedComparison)]
    gains = f"; gain in points of accuracy over {results[0].name}" if others else ""
    lines = [f"on {first.rows} {results[0].rows}{gains}", *ordinal_lines(results)]
    if first.is_skewed:
        lines.append(
            f"{100 * first.majority:.0f} % of the {results[0].rows} are of one class, which any model can name: "
            "macro-F1 counts all classes alike"
        )
    for result in others:
        assert isinstance(result.gain, PairedComparison)
        if result.gain.verdict == "no difference shown":
            lines.append(f"no difference between {result.name} and {results[0].name} is shown")
        else:
            lines.append(f"{result.name} is {result.gain.verdict} than {results[0].name}")
    return lines


def print_json(payload: Mapping[str, Any]) -> None:
    """One JSON document on stdout, for scripts. NaN must have been replaced before: it is no JSON."""
    sys.stdout.write(json.dumps(payload, indent=2, allow_nan=False) + "\n")


def score_cells(score: Score | None) -> tuple[str, str, str]:
    """Value, interval and utility of a score as they are printed everywhere."""
    if score is None:
        return "–", "–", "–"
    return f"{score.value:+z.2f}", f"{score.low:+z.2f} … {score.high:+z.2f}", f"{score.utility:+z.2f}"


def _scores_title(report: AlignmentReport) -> str:
    step = f" at step {report.step}" if report.step else ""
    number = len(report.sources)
    sources = f"{number} source{'s' * (number > 1)}"
    return f"Alignment of {sources} with {report.target}{step} ({report.seconds:.1f} s)"


def _score_row(source: SourceAlignment) -> list[str | Text]:
    value, interval, utility = score_cells(source.score)
    verdict = Text(source.verdict, style=VERDICT_STYLES[source.verdict])
    weight = f"{100 * source.weight:.0f} %"
    return [source.source, str(source.rows), value, interval, utility, weight, verdict]
