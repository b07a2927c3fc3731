"""What a sweep shows: a line a trial, the table, and pictures of what mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from sgg_ray.config import Distribution, TuneConfig
from sgg_ray.evaluation import Trial, gains_of_first, ranked, within_noise
from sgg_ray.evaluation.trials import Monitor
from sgg_ray.markdown import markdown_text
from sgg_ray.report.console import print_line, print_table
from sgg_ray.report.plots import new_figure, plain_frame, save_figure

SHOWN = 12  # trials in the table
FEWEST_FOR_IMPORTANCE = 8  # finished trials; with fewer the split into good and bad ones is arbitrary


def trial_line(trial: Trial, monitor: Monitor) -> str:
    """One trial in one line."""
    values = "  ".join(f"{key} {shown(value)}" for key, value in trial.values.items())
    if trial.status == "failed":
        return f"trial {trial.number} failed: {trial.note}  {values}"
    return (
        f"trial {trial.number}  {monitor} {_monitored(trial, monitor)}  {values}"
        f"{'  (as in the file)' if trial.own else ''}"
    )


def print_sweep(console: Console, trials: Sequence[Trial], settings: TuneConfig) -> None:
    """The best trials, and what can be concluded from them."""
    headings, rows = sweep_table(trials, settings)
    print_table(console, headings, [[Text(cell) for cell in row] for row in rows], left=2)
    for line in conclusion(trials, settings):
        print_line(console, line)


def sweep_markdown(trials: Sequence[Trial], settings: TuneConfig) -> str:
    """The best trials and what can be concluded from them, as Markdown for MLflow's description of the run."""
    headings, rows = sweep_table(trials, settings)
    lines = [headings, ["---"] * len(headings), *([markdown_text(cell) for cell in row] for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return table + "\n\n" + "\n".join(conclusion(trials, settings))


def conclusion(trials: Sequence[Trial], settings: TuneConfig) -> list[str]:
    """What the sweep has shown, and what it has not."""
    monitor = settings.metric
    finished = [trial for trial in ranked(trials, monitor) if trial.status == "finished"]
    if not finished:
        return ["no trial finished"]
    best = finished[0]
    near = within_noise(trials, monitor)[1:]
    lines = [
        f"best: trial {best.number}"
        + (f"; within noise of it: {_numbers(near)}" if near else "; all others are clearly worse")
    ]
    own = next((trial for trial in finished if trial.own), None)
    name = {"loss": "held-out loss", "accuracy": "held-out error rate"}[monitor]
    if own is best:
        lines.append("no trial did better than the file's own values")
    elif own is not None:
        gain = gains_of_first(trials, monitor)[own.number]
        chosen = f", chosen as the best of {len(finished)}" if len(finished) > 2 else ""
        interval = f"95 % interval {gain.low:+z.3f} … {gain.high:+z.3f}{chosen}"
        lines.append(
            f"than the file's own values its {name} is {gain.value:.3f} lower ({interval}): "
            + ("a gain" if gain.low > 0 else "no difference shown")
        )
    return lines


def plot_parallel(
    trials: Sequence[Trial], space: Mapping[str, Distribution], monitor: Monitor, path: str | Path
) -> Path:
    """Parallel coordinates: a line a finished trial over the keys that were varied, coloured by how good it is."""
    finished = [trial for trial in ranked(trials, monitor) if trial.status == "finished"]
    figure = new_figure(max(6.0, 1.9 * (len(space) + 1)), 4.6)
    axis = figure.subplots()
    names = [*space, monitor]
    columns = [
        _positions(distribution, [t.values[key] for t in finished]) for key, distribution in space.items()
    ]
    results = np.array([getattr(trial, monitor) for trial in finished])
    low, high = (results.min(), results.max()) if len(results) else (0.0, 1.0)
    columns.append((results - low) / (high - low or 1.0))
    for place in reversed(range(len(finished))):  # the best on top
        heights = [column[place] for column in columns]
        colour = rank_colour(place, len(finished))
        axis.plot(range(len(names)), heights, color=colour, linewidth=2.4 if place == 0 else 1.0, alpha=0.9)
    for place, distribution in enumerate(space.values()):
        _label_axis(axis, place, *_ends(distribution))
    _label_axis(axis, len(names) - 1, f"{low:.3f}", f"{high:.3f}")
    axis.set_xticks(range(len(names)), names, fontsize=9)
    axis.set_yticks([])
    axis.set_ylim(-0.12, 1.12)
    axis.set_title(f"{len(finished)} finished trials, the best one bold", fontsize=11)
    plain_frame(axis)
    axis.spines["left"].set_visible(False)
    return save_figure(figure, path)


def rank_colour(place: int, count: int) -> Any:
    """Colour of a trial by its rank from 0: the best is darkest, and none is too light for a white page."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.8 * place / max(1, count - 1))


def plot_importance(
    trials: Sequence[Trial], space: Mapping[str, Distribution], monitor: Monitor, path: str | Path
) -> bool:
    """How much each key mattered: PED-ANOVA (Watanabe et al., 2023) over the finished trials.

    Returns False, and draws nothing, where there are too few trials or nothing differs.
    """
    finished = [trial for trial in trials if trial.status == "finished"]
    varied = [key for key in space if len({repr(trial.values[key]) for trial in finished}) > 1]
    results = {float(trial.badness(monitor).mean()) for trial in finished}
    if len(finished) < FEWEST_FOR_IMPORTANCE or not varied or len(results) < 2:
        return False
    shares = _importances(finished, {key: space[key] for key in varied}, monitor)
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure = new_figure(7.5, 1.4 + 0.45 * len(ordered))
    axis = figure.subplots()
    axis.barh([key for key, _ in ordered], [share for _, share in ordered], color="#1f5fa8", alpha=0.75)
    for row, (_, share) in enumerate(ordered):
        axis.text(share + 0.01, row, f"{100 * share:.0f} %", va="center", fontsize=9)
    axis.set_xlim(0, 1.08)
    axis.set_xlabel(
        f"share of the difference between good trials and others (PED-ANOVA, {len(finished)} trials)"
    )
    axis.set_title(f"What mattered for the held-out {monitor}", fontsize=11)
    plain_frame(axis)
    save_figure(figure, path)
    return True


def shown(value: Any) -> str:
    """A tried value as it is printed."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _importances(
    trials: Sequence[Trial], space: Mapping[str, Distribution], monitor: Monitor
) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize")
    distributions = {key: _optuna_distribution(distribution) for key, distribution in space.items()}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                params={key: trial.values[key] for key in space},
                distributions=distributions,
                value=float(trial.badness(monitor).mean()),
            )
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _optuna_distribution(values: Distribution) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if values.integer is not None:
        return IntDistribution(*values.integer)
    if values.bounds is not None:
        return FloatDistribution(*values.bounds, log=values.is_logarithmic)
    return CategoricalDistribution(values.choice or [])


def sweep_table(trials: Sequence[Trial], settings: TuneConfig) -> tuple[list[str], list[list[str]]]:
    """The best trials as cells. Keys without their section where that is clear enough."""
    order = ranked(trials, settings.metric)
    noise = {trial.number for trial in within_noise(trials, settings.metric)}
    names = [key.split(".")[-1] for key in settings.space]
    titles = [name if names.count(name) == 1 else key for key, name in zip(settings.space, names)]
    headings = ["", "trial", "loss", "accuracy", *titles, ""]
    rows = []
    for trial in order[:SHOWN]:
        notes = [trial.note] if trial.note else [trial.status] if trial.status != "finished" else []
        notes += ["as in the file"] if trial.own else []
        mark = "≈" if trial.number in noise else ""
        if trial is order[0] and trial.status == "finished":
            mark = "★"
        rows.append(
            [
                mark,
                str(trial.number),
                _monitored(trial, "loss"),
                _monitored(trial, "accuracy"),
                *(shown(trial.values.get(key)) for key in settings.space),
                ", ".join(notes),
            ]
        )
    return headings, rows


def _monitored(trial: Trial, monitor: Monitor) -> str:
    value, spread = getattr(trial, monitor), trial.spread(monitor)
    if math.isnan(value):
        return "–"
    if monitor == "accuracy":
        return f"{100 * value:.1f} %" + ("" if math.isnan(spread) else f" ± {100 * spread:.1f}")
    return f"{value:.3f}" + ("" if math.isnan(spread) else f" ± {spread:.3f}")


def _numbers(trials: Sequence[Trial]) -> str:
    if len(trials) > SHOWN:
        return f"{len(trials)} trials"
    return ("trial " if len(trials) == 1 else "trials ") + ", ".join(str(trial.number) for trial in trials)


def _positions(distribution: Distribution, values: Sequence[Any]) -> np.ndarray:
    """Where values lie between an axis' ends, 0 … 1."""
    if distribution.bounds is None:
        choices = distribution.extremes
        return np.array([choices.index(value) / max(1, len(choices) - 1) for value in values])
    low, high = distribution.bounds
    found = np.array(values, dtype=float)
    if distribution.is_logarithmic:
        low, high, found = math.log(low), math.log(high), np.log(found)
    return (found - low) / (high - low)


def _ends(distribution: Distribution) -> tuple[str, str]:
    ends = distribution.extremes
    return shown(ends[0]), shown(ends[-1])


def _label_axis(axis: Any, place: int, low: str, high: str) -> None:
    axis.axvline(place, ymin=0.1, ymax=0.9, color="#666666", linewidth=0.8)
    axis.text(place, -0.03, low, ha="center", va="top", fontsize=8)
    axis.text(place, 1.03, high, ha="center", va="bottom", fontsize=8)
