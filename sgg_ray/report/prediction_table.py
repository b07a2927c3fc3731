"""What is printed of predictions: how many of each label, or how many answers, and how good they are if known."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from sgg_ray.report.console import print_line, print_table


def print_predictions(console: Console, found: Mapping[str, Any], seconds: float) -> None:
    """Label counts; accuracy, calibration error and the confusion matrix of rows with labels.

    Of numbers: errors and rank correlation. Of answers: exact match and ROUGE-L of rows with references.

    Args:
        found: as ``Tally.to_dict`` or ``AnswerTally.to_dict`` gives it.
        seconds: what it took.
    """
    rows, metrics = found["rows"], found["metrics"]
    rate = f", {rows / seconds:,.0f} a second" if seconds > 0 and rows else ""
    print_line(console, f"{rows:,} row{'s' * (rows != 1)} in {seconds:.1f} s{rate}", style="bold")
    if "mean_predicted" in found:
        _print_numbers(console, found)
        return
    if "predicted" not in found:
        _print_answers(console, found)
        return
    share = max(rows - found["without_text"], 1)
    print_table(
        console,
        ["label", "predicted", "share"],
        [[name, f"{count:,}", f"{100 * count / share:.1f} %"] for name, count in found["predicted"].items()],
    )
    if found["without_text"]:
        print_line(console, _left_out(found["without_text"], "text", "predicted"), style="yellow")
    if unknown := found.get("unknown_labels"):
        shown = ", ".join(f"'{value[:40]}'" if value != "…" else value for value in unknown)
        count = sum(unknown.values())
        have = "row has" if count == 1 else "rows have"
        print_line(console, f"{count:,} {have} a label that the model does not know: {shown}", style="yellow")
    if metrics is not None:
        _print_quality(console, metrics, list(found["predicted"]))


def _left_out(number: int, what: str, done: str) -> str:
    rows, were = ("row", "was") if number == 1 else ("rows", "were")
    return f"{number:,} {rows} without a {what} {were} not {done}"


def _print_quality(console: Console, metrics: Mapping[str, Any], names: Sequence[str]) -> None:
    """How good the labels are, of the rows that have true ones.

    Args:
        names: of the labels, in the order of the confusion matrix.
    """
    if "micro_f1" in metrics:
        print_line(
            console,
            f"on {metrics['rows']:,} labelled rows: micro-F1 {100 * metrics['micro_f1']:.1f} %, macro-F1 "
            f"{100 * metrics['macro_f1']:.1f} %, all labels right in {100 * metrics['exact_match']:.1f} %",
        )
        return
    interval = f"{100 * metrics['accuracy_low']:.1f} … {100 * metrics['accuracy_high']:.1f}"
    print_line(
        console,
        f"on {metrics['rows']:,} labelled rows: accuracy {100 * metrics['accuracy']:.1f} % (95 % interval {interval}), "
        f"macro-F1 {100 * metrics['macro_f1']:.1f} %, calibration error {100 * metrics['ece']:.1f} points",
    )
    if "mae" in metrics:
        print_line(
            console,
            f"off by {metrics['mae']:.2f} levels on average, Spearman {metrics['spearman']:+z.2f}",
        )
    majority = max(map(sum, metrics["confusion"])) / metrics["rows"]
    print_line(console, f"always naming the most frequent label would be right in {100 * majority:.1f} %")
    print_table(
        console,
        ["true \\ predicted", *names, ""],
        [[name, *(f"{count:,}" for count in line), ""] for name, line in zip(names, metrics["confusion"])],
    )


def _print_numbers(console: Console, found: Mapping[str, Any]) -> None:
    if found["without_text"]:
        print_line(console, _left_out(found["without_text"], "text", "predicted"), style="yellow")
    if found["mean_predicted"] is not None:
        print_line(console, f"mean of the predictions {found['mean_predicted']:.3f}")
    if metrics := found["metrics"]:
        print_line(
            console,
            f"on {metrics['rows']:,} rows with numbers: mean absolute error {metrics['mae']:.3f}, RMSE "
            f"{metrics['rmse']:.3f}, Spearman {metrics['spearman']:+z.3f}",
        )


def _print_answers(console: Console, found: Mapping[str, Any]) -> None:
    if found["without_text"]:
        print_line(console, _left_out(found["without_text"], "prompt", "answered"), style="yellow")
    metrics = found["metrics"]
    if metrics is None:
        return
    interval = f"{100 * metrics['exact_match_low']:.1f} … {100 * metrics['exact_match_high']:.1f}"
    print_line(
        console,
        f"on {metrics['rows']:,} rows with references: exact match {100 * metrics['exact_match']:.1f} % "
        f"(95 % interval {interval}), ROUGE-L {100 * metrics['rouge_l']:.1f}",
    )
