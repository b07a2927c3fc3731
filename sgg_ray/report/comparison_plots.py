"""Pictures of a comparison: accuracy over shots, mean ranks with a critical difference, accuracy against stability."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sgg_ray.evaluation import Ranking
from sgg_ray.report.comparison_tables import Comparison
from sgg_ray.report.plots import new_figure, plain_frame, save_figure

MARKERS = "osD^vP*X<>ph"
BANDED = 2  # with more strategies, bands would hide one another: only the baseline and the best have one


def plot_shots(comparison: Comparison, path: str | Path) -> Path:
    """Mean accuracy over the number of shots; bands are ± the standard deviation over the seeds of a target.

    Of a single number of shots there is a row a strategy, the best on top.
    """
    numbers = [number for number in comparison.shots if number is not None]
    if len(numbers) < 2:
        return _plot_rows(comparison, path)
    figure = new_figure(9.5, 5.4)
    axis = figure.subplots()
    names = [row.strategy for row in sorted(comparison.overall, key=lambda row: -row.mean)]
    banded = set(names) if len(names) <= BANDED else {names[0], comparison.baseline}
    for place, name in enumerate(names):
        rows = [row for number in numbers if (row := comparison.at(name, number)) is not None]
        shots = np.array([row.shots or 0 for row in rows])
        means = 100 * np.array([row.mean for row in rows])
        spreads = 100 * np.nan_to_num(np.array([row.seed_sd for row in rows]))
        is_baseline = name == comparison.baseline
        (line,) = axis.plot(
            shots,
            means,
            marker=MARKERS[place % len(MARKERS)],
            color="black" if is_baseline else _colour(place, len(names)),
            linestyle="--" if is_baseline else "-",
            linewidth=1.8 if name in banded else 1.2,
            markersize=5,
            label=name,
        )
        if name in banded:
            axis.fill_between(
                shots, means - spreads, means + spreads, color=line.get_color(), alpha=0.13, linewidth=0
            )
    axis.set_xscale("log", base=2)
    axis.set_xticks(numbers, [str(number) for number in numbers])
    axis.minorticks_off()
    axis.set_xlabel("shots per class" if comparison.measure == "accuracy" else "shots")
    axis.set_ylabel(f"{comparison.measure}, %")
    title = f"{comparison.measure.capitalize()}; bands: ± standard deviation over seeds"
    axis.set_title(title, fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plain_frame(axis)
    return save_figure(figure, path)


def _plot_rows(comparison: Comparison, path: str | Path) -> Path:
    """A dot a strategy, with ± the standard deviation over seeds, and a line where the baseline is."""
    ordered = sorted(comparison.overall, key=lambda row: row.mean)  # matplotlib counts upwards
    figure = new_figure(9.5, 1.5 + 0.34 * max(len(ordered), 2))
    axis = figure.subplots()
    for place, row in enumerate(ordered):
        is_baseline = row.strategy == comparison.baseline
        spread = None if math.isnan(row.seed_sd) else 100 * row.seed_sd
        colour = "black" if is_baseline else "#1f5fa8"
        axis.errorbar(100 * row.mean, place, xerr=spread, fmt="o", color=colour, capsize=3, elinewidth=1.4)
        if is_baseline:
            axis.axvline(100 * row.mean, color="black", linestyle="--", linewidth=0.9)
    axis.set_yticks(range(len(ordered)), [row.strategy for row in ordered])
    axis.set_ylim(-0.6, len(ordered) - 0.4)
    axis.set_xlabel(f"{comparison.measure}, %; bars: ± standard deviation over seeds")
    (number,) = [number for number in comparison.shots if number is not None] or [None]
    per_class = " per class" if comparison.measure == "accuracy" else ""
    shots = "all shots" if number is None else f"{number} shots{per_class}"
    axis.set_title(f"{comparison.measure.capitalize()} with {shots}", fontsize=11)
    axis.grid(axis="x", alpha=0.3)
    plain_frame(axis)
    return save_figure(figure, path)


def plot_ranks(ranking: Ranking, path: str | Path) -> Path:
    """Critical-difference diagram (Demšar, 2006): mean ranks, best on the left; a bar joins those not apart."""
    ordered = sorted(ranking.ranks.items(), key=lambda item: item[1])
    names, ranks = [name for name, _ in ordered], [rank for _, rank in ordered]
    bars = joined(ranks, ranking.critical_difference)
    half = math.ceil(len(names) / 2)
    depth = 0.55 + 0.22 * len(bars)
    figure = new_figure(10, 1.7 + 0.3 * half + 0.2 * len(bars))
    axis = figure.subplots()
    low, high = 1, len(names)
    axis.hlines(0, low, high, color="black", linewidth=1.2)
    for tick in range(low, high + 1):
        axis.vlines(tick, 0, 0.12, color="black", linewidth=1.0)
        axis.text(tick, 0.22, str(tick), ha="center", va="bottom", fontsize=9)
    for place, (name, rank) in enumerate(ordered):
        left = place < half
        level = -(depth + 0.42 * (place if left else len(names) - 1 - place))
        edge = low - 0.15 if left else high + 0.15
        axis.plot([rank, rank, edge], [0, level, level], color="#444444", linewidth=0.9)
        axis.text(
            edge + (-0.05 if left else 0.05),
            level,
            f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}",
            ha="right" if left else "left",
            va="center",
            fontsize=9,
        )
    for number, (first, last) in enumerate(bars):
        height = -(0.25 + 0.22 * number)
        axis.hlines(height, ranks[first], ranks[last], color="#c0392b", linewidth=3.5)
    top = 0.95
    width = ranking.critical_difference
    axis.hlines(top, low, low + width, color="black", linewidth=1.4)
    axis.vlines([low, low + width], top - 0.08, top + 0.08, color="black", linewidth=1.4)
    axis.text(
        low, top + 0.14, f"critical difference {width:.2f} (Nemenyi, 5 %)", va="bottom", ha="left", fontsize=9
    )
    room = 0.32 * (high - low) + 0.6
    axis.set_xlim(low - room, max(high + room, low + width + 0.2))
    axis.set_ylim(-(depth + 0.42 * half) + 0.1, top + 0.55)
    axis.axis("off")
    p_value = "< 0.001" if ranking.p_value < 0.001 else f"= {ranking.p_value:.3f}"
    axis.set_title(f"Mean ranks over {ranking.splits} splits (Friedman p {p_value})", fontsize=11)
    return save_figure(figure, path)


def joined(ranks: list[float], difference: float) -> list[tuple[int, int]]:
    """Longest runs (first, last) of sorted ranks that lie within the critical difference; none inside another."""
    runs: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(place for place in range(first, len(ranks)) if ranks[place] - ranks[first] <= difference)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def plot_stability(comparison: Comparison, path: str | Path) -> Path | None:
    """Accuracy against gradient stability, over all shots; None where no strategy has measured it."""
    rows = sorted(comparison.overall, key=lambda row: -row.mean)
    rows = [row for row in rows if math.isfinite(row.measures["stability"])]
    if not rows:
        return None
    figure = new_figure(8, 5.2)
    axis = figure.subplots()
    for place, row in enumerate(rows):
        is_baseline = row.strategy == comparison.baseline
        colour = "black" if is_baseline else _colour(place, len(rows))
        axis.errorbar(
            row.measures["stability"],
            100 * row.mean,
            yerr=None if math.isnan(row.seed_sd) else 100 * row.seed_sd,
            marker=MARKERS[place % len(MARKERS)],
            color=colour,
            ecolor="#bbbbbb",
            elinewidth=1.0,
            capsize=2,
            linestyle="none",
            label=row.strategy,
        )
    axis.set_xlabel("gradient stability: mean cosine of consecutive target gradients")
    axis.set_ylabel(f"{comparison.measure}, %")
    title = (
        f"{comparison.measure.capitalize()} against gradient stability; bars: ± standard deviation over seeds"
    )
    axis.set_title(title, fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plain_frame(axis)
    return save_figure(figure, path)


def _colour(place: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["turbo"](0.05 + 0.9 * place / max(1, count - 1))
