"""Pictures of a run: training curves, ranked scores, and which tasks agree.

Figures are made as objects and drawn by the Agg canvas: no window, no pyplot, no state that outlives a call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sgg_ray.alignment import AlignmentReport, SourceAlignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Event = Mapping[str, Any]

_VERDICT_COLOURS = {"helps": "#2a7f62", "unclear": "#b58900", "harmful": "#c0392b", "failed": "#7f7f7f"}
_BLUE, _ORANGE, _GREEN, _PURPLE, _GREY = "#1f5fa8", "#d9772b", "#2a7f62", "#7b4ea3", "#8a8a8a"
_OTHERS = (_GREY, _GREEN, _PURPLE)
_MOST_NUMBERED = 24  # tasks of a heat map whose cells hold their numbers: 65 took 1.1 GiB and 11 s to draw
_COMPARED = {"loss", "gradient_norm"}  # what is shown of the other runs

# Panels of the curves: title, logarithmic, and the events' keys with their label and colour.
_PANELS: list[tuple[str, bool, dict[str, tuple[str, str]]]] = [
    ("Loss", False, {"loss": ("target", _BLUE), "source_loss": ("source mixture", _ORANGE)}),
    ("Gradient norm of the target", True, {"gradient_norm": ("‖g‖", _BLUE)}),
    (
        "Cosines",
        False,
        {
            "step_cosine": ("with the step before", _GREY),
            "direction_cosine": ("with the reference r", _PURPLE),
            "alignment_cosine": ("with the source mixture ĝ_S", _GREEN),
        },
    ),
    (
        "Guidance",
        True,
        {"penalty": ("penalty Σ λ φ(g)", _PURPLE), "hvp_ratio": ("‖H·v‖ / ‖g‖", _ORANGE)},
    ),
]


def plot_curves(events: Sequence[Event], path: str | Path, run: str = "guided", title: str = "") -> Path:
    """Loss, gradient norm, cosines and guidance of ``run`` over the steps; other runs' loss and norm dashed.

    ``events`` are those of the run folder: a step that is there twice, after a resume, counts once; events
    without a step are passed over; those without the key ``run`` belong to ``run``. Skipped steps are marked.
    """
    runs = _by_run(events, run)
    steps, columns = runs.pop(run)
    panels = [panel for panel in _PANELS if any(_has_values(columns, key) for key in panel[2])] or _PANELS[:1]
    rows = math.ceil(len(panels) / 2)
    figure = new_figure(11, 3.4 * rows + 0.5)
    axes = figure.subplots(rows, min(2, len(panels)), squeeze=False).ravel()
    for axis, (name, logarithmic, curves) in zip(axes, panels):
        for key, (label, colour) in curves.items():
            if _has_values(columns, key):
                _draw_curve(axis, steps, columns[key], label, colour)
        for (other, (other_steps, other_columns)), colour in zip(runs.items(), cycle(_OTHERS)):
            for key in _COMPARED & curves.keys():
                if _has_values(other_columns, key):
                    _draw_curve(axis, other_steps, other_columns[key], other, colour, dashed=True)
        _finish_panel(axis, name, logarithmic, steps[_skipped(columns, len(steps))])
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if title:
        figure.suptitle(title)
    return save_figure(figure, path)


def plot_similarity(report: AlignmentReport, path: str | Path) -> Path:
    """Heat map of cosines between all tasks' mean gradients, target first; grey where they share no space."""
    names, size = report.names, len(report.names)
    numbered = size <= _MOST_NUMBERED
    side = max(4.5, 0.62 * size + 2.5) if numbered else 0.16 * size + 5.0
    figure = new_figure(side + 1.0, side)
    axis = figure.subplots()
    axis.set_facecolor("#dddddd")
    image = axis.imshow(np.ma.masked_invalid(report.similarity), cmap="RdBu", vmin=-1.0, vmax=1.0)
    small: dict[str, Any] = {} if numbered else {"fontsize": 6}
    axis.set_xticks(
        range(size), names, rotation=45 if numbered else 90, ha="right", rotation_mode="anchor", **small
    )
    axis.set_yticks(range(size), names, **small)
    for label in (axis.get_xticklabels()[0], axis.get_yticklabels()[0]):
        label.set_fontweight("bold")
    for (row, column), cosine in np.ndenumerate(report.similarity) if numbered else ():
        text = f"{cosine:.2f}" if np.isfinite(cosine) else "–"
        colour = "white" if np.isfinite(cosine) and abs(cosine) > 0.6 else "black"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if size < 16 else 6)
    # A line between the target and the sources.
    axis.axhline(0.5, color="black", linewidth=1.2)
    axis.axvline(0.5, color="black", linewidth=1.2)
    axis.set_title(
        f"Which tasks agree with {report.target}, and with one another\n"
        "(as observed: few examples pull cosines towards 0,\nthe table's alignment is corrected for that)",
        fontsize=10,
    )
    figure.colorbar(image, ax=axis, shrink=0.8, label="cosine of mean gradients, as observed")
    return save_figure(figure, path)


def plot_layers(report: AlignmentReport, path: str | Path) -> Path:
    """Heat map of the cosine of each source's gradient with the target's, layer by layer; grey where there is none."""
    names = [source.source for source in report.ranked() if source.source in report.layers]
    layers = list(dict.fromkeys(layer for name in names for layer in report.layers[name]))
    values = np.array(
        [[report.layers[name].get(layer, math.nan) for layer in layers] for name in names], dtype=np.float64
    ).reshape(len(names), len(layers))
    figure = new_figure(3.5 + 0.55 * max(4, len(layers)), 1.8 + 0.42 * max(2, len(names)))
    axis = figure.subplots()
    axis.set_facecolor("#dddddd")
    if values.size:
        image = axis.imshow(np.ma.masked_invalid(values), cmap="RdBu", vmin=-1.0, vmax=1.0, aspect="auto")
        figure.colorbar(image, ax=axis, label="cosine, as observed")
    axis.set_xticks(range(len(layers)), layers, rotation=45 if len(layers) > 12 else 0)
    axis.set_yticks(range(len(names)), names)
    if values.size <= 400:  # in larger ones numbers could not be read
        for (row, column), cosine in np.ndenumerate(values):
            text = f"{cosine:.2f}" if np.isfinite(cosine) else "–"
            colour = "white" if np.isfinite(cosine) and abs(cosine) > 0.6 else "black"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axis.set_xlabel("layer")
    axis.set_title(f"Where in the model sources agree with {report.target}", fontsize=11)
    return save_figure(figure, path)


def plot_scores(report: AlignmentReport, path: str | Path) -> Path:
    """Sources ranked by score as horizontal bars with their intervals, coloured by verdict."""
    ranked = report.ranked()[::-1]  # matplotlib counts upwards
    figure = new_figure(9.5, 1.5 + 0.42 * max(len(ranked), 2))
    axis = figure.subplots()
    for row, source in enumerate(ranked):
        score, colour = source.score, _VERDICT_COLOURS[source.verdict]
        label = f"{source.verdict}, weight {100 * source.weight:.0f} %"
        if score is not None and math.isfinite(score.value):
            axis.barh(row, score.value, height=0.62, color=colour, alpha=0.55)
            axis.plot([score.low, score.high], [row, row], color="#222222", linewidth=1.6)
            axis.plot([score.low, score.high], [row, row], "|", color="#222222", markersize=8)
        elif source.note:
            label = f"failed: {source.note}"
        axis.text(1.04, row, label, va="center", fontsize=9, color=colour)
    axis.set_yticks(range(len(ranked)), [source.source for source in ranked])
    axis.set_xlim(_lowest(ranked), 1.02)
    axis.set_ylim(-0.6, len(ranked) - 0.4)
    axis.axvline(0.0, color="black", linewidth=0.9)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(f"alignment: cosine with the target's gradient, {100 * report.confidence:g} % interval")
    axis.set_title(f"Sources for {report.target}", fontsize=11)
    plain_frame(axis)
    return save_figure(figure, path)


def _lowest(sources: Sequence[SourceAlignment]) -> float:
    """Left end of the axis: −1 only where a bar or an interval goes below 0."""
    scores = [source.score for source in sources if source.score is not None]
    below = any(min(score.value, score.low) < 0.0 for score in scores)
    return -1.02 if below else -0.02


def _by_run(events: Sequence[Event], first: str) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """For each run: steps [T] in ascending order, and every key's values [T], NaN where an event lacks it."""
    by_run: dict[str, dict[int, Event]] = {first: {}}
    for event in events:
        if "step" in event:
            by_run.setdefault(event.get("run", first), {})[int(event["step"])] = event
    found = {}
    for run, by_step in by_run.items():
        steps = sorted(by_step)
        keys = {key for event in by_step.values() for key in event}
        columns = {key: np.array([_number(by_step[step].get(key)) for step in steps]) for key in keys}
        found[run] = np.array(steps), columns
    return found


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (bool, int, float)) else math.nan


def _has_values(columns: Mapping[str, np.ndarray], key: str) -> bool:
    return key in columns and bool(np.isfinite(columns[key]).any())


def _draw_curve(
    axis: Axes, steps: np.ndarray, values: np.ndarray, label: str, colour: str, dashed: bool = False
) -> None:
    """The values faint, and their running mean strong: few-shot batches are noisy."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    window = max(1, len(values) // 15)
    if window > 1 and not dashed:
        axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    style = "--" if dashed else "-"
    marker = "." if len(values) < 3 else ""
    axis.plot(
        steps, _running_mean(values, window), style, marker=marker, color=colour, linewidth=1.8, label=label
    )


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over a centred window that is cut at the ends."""
    padded = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first = np.maximum(index - window // 2, 0)
    last = np.minimum(index + window // 2 + 1, len(values))
    return (padded[last] - padded[first]) / (last - first)


def _finish_panel(axis: Axes, name: str, logarithmic: bool, skipped: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator  # here: commands that draw nothing start without it

    axis.set_title(name, fontsize=11)
    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axis.grid(alpha=0.3)
    values = np.concatenate(
        [np.asarray(line.get_ydata(), dtype=float) for line in axis.lines] or [np.ones(1)]
    )
    if logarithmic and len(values) and values.min() > 0.0 and values.max() > 10.0 * values.min():
        axis.set_yscale("log")
    if name == "Cosines":
        axis.set_ylim(-1.05, 1.05)
        axis.axhline(0.0, color="black", linewidth=0.8)
    for number, step in enumerate(skipped):
        label = "skipped step" if number == 0 and name == "Loss" else None
        axis.axvline(step, ymax=0.03, color="#c0392b", linewidth=1.5, label=label)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=9, frameon=False)
    plain_frame(axis)


def _skipped(columns: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    return np.nan_to_num(columns.get("skipped", np.zeros(count))) > 0


def plain_frame(axis: Axes) -> None:
    """Leave out the frame's upper and right side."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches, without a window behind it."""
    from matplotlib.figure import Figure  # here: commands that draw nothing start without it

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Draw the figure into a PNG file; returns its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=130)
    return path
