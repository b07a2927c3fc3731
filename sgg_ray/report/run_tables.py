"""What is printed of runs: a line each, and what one of them came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sgg_ray.report.console import duration, print_line, print_table

if TYPE_CHECKING:
    import pandas as pd

TEXT_WIDTH = 90  # characters of a text in a table


def print_runs(console: Console, runs: Sequence[Mapping[str, Any]]) -> None:
    """A line a run, in the order given.

    Args:
        runs: as ``RunSummary.to_dict`` gives them.
    """
    headings = ["run", "command", "target", "shots", "seed", "quality", "gain", "started", "took", "status"]
    rows = [
        [
            run["name"],
            run["command"],
            run["target"],
            _number(run["shots"]),
            _number(run["seed"]),
            "" if run["quality"] is None else f"{100 * run['quality']:.1f} %",
            "" if run["gain"] is None else f"{100 * run['gain']:+z.1f}",
            run["started"][:16].replace("T", " "),
            "" if run["seconds"] is None else duration(run["seconds"]),
            run["status"],
        ]
        for run in runs
    ]
    print_table(console, headings, rows, left=3)
    print_line(
        console,
        "quality: accuracy, micro-F1, exact match or Spearman's correlation; gain: points over the target-only "
        "baseline",
    )
    for run in runs:
        if run["note"]:
            print_line(console, f"{run['name']}: {run['note']}", style="yellow")


def print_quality(console: Console, metrics: Mapping[str, Any]) -> None:
    """The models of a run on its test rows.

    Args:
        metrics: what metrics.json holds.
    """
    found = {
        name: metrics[name] for name in ("target-only", "guided") if isinstance(metrics.get(name), Mapping)
    }
    headings = {
        "accuracy": "accuracy",
        "micro_f1": "micro-F1",
        "macro_f1": "macro-F1",
        "exact_match": "exact match",
        "rouge_l": "ROUGE-L",
    }
    plain = {"mae": "mean error", "rmse": "RMSE", "spearman": "Spearman"}
    kept = [name for name in headings if any(name in values for values in found.values())]
    more = [name for name in plain if any(name in values for values in found.values())]
    rows = [
        [
            model,
            *(_percent(values.get(name)) for name in kept),
            *("" if values.get(name) is None else f"{values[name]:.3f}" for name in more),
            "",
        ]
        for model, values in found.items()
    ]
    majority = next((values["majority"] for values in found.values() if "majority" in values), None)
    if majority is not None:
        rows.insert(0, ["majority class", _percent(majority), *[""] * (len(kept) + len(more))])
    print_table(
        console, ["model", *(headings[name] for name in kept), *(plain[name] for name in more), ""], rows
    )
    gain = metrics.get("difference")
    if isinstance(gain, Mapping) and "low" in gain:
        print_line(
            console,
            f"gain {100 * gain['difference']:+z.1f} points, interval {100 * gain['low']:+z.1f} … "
            f"{100 * gain['high']:+z.1f}, over the target-only baseline on the same rows",
        )


def print_wrong_rows(console: Console, frame: pd.DataFrame, most: int, what: str = "test rows") -> None:
    """The test rows that the model got wrong, those it was surest of first.

    Args:
        frame: predictions.parquet of a run.
        most: rows to show.
        what: the rows are called.
    """
    wrong = wrong_rows(frame)
    if "error" in frame:
        print_line(console, f"the largest errors of {len(frame):,} {what}", style="bold")
    else:
        print_line(console, f"{len(wrong):,} of {len(frame):,} {what} are wrong", style="bold")
    if wrong.empty or most == 0:
        return
    if "error" in frame:
        rows = [
            [f"{row['label']:g}", f"{row['predicted']:.2f}", f"{row['error']:+z.2f}", _short(_text_of(row))]
            for row in wrong.head(most).to_dict("records")
        ]
        print_table(console, ["true", "predicted", "error", "text"], rows)
        return
    if "predicted" in frame:
        headings = ["label", "predicted", "confidence", "text"]
        rows = [
            [
                str(row["label"]),
                str(row["predicted"]),
                f"{100 * row['confidence']:.0f} %",
                _short(_text_of(row)),
            ]
            for row in wrong.head(most).to_dict("records")
        ]
        print_table(console, headings, rows, left=2)
        return
    rows = [
        [_short(row["prompt"]), _short(row["reference"]), _short(row["generated"])]
        for row in wrong.head(most).to_dict("records")
    ]
    print_table(console, ["prompt", "reference", "generated"], rows, left=3)


def wrong_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows whose label, or answer, is not the true one, with the model's confidence, the surest first.

    Of numbers all rows, those that are furthest off first.
    """
    if "error" in frame:
        return frame.reindex(frame["error"].abs().sort_values(ascending=False, kind="stable").index)
    if "predicted" not in frame:
        return frame[~frame["exact_match"]].sort_values("loss", ascending=False)
    chances = frame[[name for name in frame.columns if name.startswith("p_")]]
    wrong = frame.assign(confidence=chances.max(axis=1))[frame["predicted"] != frame["label"]]
    return wrong.sort_values("confidence", ascending=False)


def settings_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that tell runs apart at first sight, by what people call them."""
    shown = {
        "model": "model.path",
        "strategy": "strategy",
        "target": "target.name",
        "shots": "target.shots",
        "steps": "train.max_steps",
        "seed": "seed",
    }
    return {name: str(settings[key]) for name, key in shown.items() if settings.get(key) is not None}


def _text_of(row: Mapping[Any, Any]) -> str:
    """A row's text: all fields before its label, one or several."""
    fields = []
    for name, value in row.items():
        if name == "label":
            break
        fields.append(str(value))
    return " | ".join(fields)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _short(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= TEXT_WIDTH else f"{line[: TEXT_WIDTH - 1]}…"
