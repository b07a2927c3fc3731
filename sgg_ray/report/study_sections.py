"""The parts of ``report.html`` of a comparison and of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sgg_ray.report.page import PageTable, Section, as_sentence, pictures

if TYPE_CHECKING:
    from sgg_ray.config import TuneConfig
    from sgg_ray.evaluation import Trial
    from sgg_ray.report.comparison_tables import Comparison

COMPARISON_PICTURES = {
    "shots.png": "Every strategy over the number of shots.",
    "ranks.png": "Mean ranks: 1 is best. Strategies under one red bar are not told apart.",
    "stability.png": "How steady the target's gradient is, and how good the model.",
}
SWEEP_PICTURES = {
    "parallel.png": "Every finished trial as a line over what was varied; the strong one is the best.",
    "importance.png": "What tells good trials from others.",
}


def comparison_sections(comparison: Comparison, folder: Path) -> list[Section]:
    """Tables of a comparison, its pictures, the cells that failed, and what each strategy is."""
    failed = [[name, reason] for name, reason in comparison.failures.items()]
    named = [[name, text] for name, text in comparison.descriptions.items() if text]
    details = (
        "McNemar's exact test pools the test rows of all pairs: it compares these models on these rows and does not "
        "account for variation between seeds."
    )
    parts = [
        Section(
            "Strategies compared",
            [comparison.caption()],
            [PageTable(*comparison.accuracies())],
            pictures(folder, COMPARISON_PICTURES),
        ),
        Section("Other metrics", ["Over all shots."], [PageTable(*comparison.metrics())]),
    ]
    if len(comparison.overall) > 1:
        parts.append(Section("Every contrast", [details], [PageTable(*comparison.details())]))
    if failed:
        parts.append(Section("Cells that went wrong", tables=[PageTable(["cell", "reason"], failed)]))
    if named:
        parts.append(
            Section("What the strategies are", tables=[PageTable(["strategy", "description"], named)])
        )
    return parts


def sweep_sections(trials: Sequence[Trial], settings: TuneConfig, folder: Path) -> list[Section]:
    """The best trials, pictures of what mattered, and the trials that failed."""
    from sgg_ray.report.sweep_plots import sweep_table

    headings, rows = sweep_table(trials, settings)
    lines = [
        f"Judged by the held-out {settings.metric} of shots that a training did not see, never by test rows.",
        "★ is the best trial, ≈ one that cannot be told from it.",
    ]
    table = PageTable(headings, rows, f"{len(rows)} of {len(trials)} trials, the best first")
    failed = [[str(trial.number), trial.note] for trial in trials if trial.status == "failed"]
    parts = [Section("Trials", lines, [table], pictures(folder, SWEEP_PICTURES))]
    if failed:
        parts.append(Section("Trials that went wrong", tables=[PageTable(["trial", "reason"], failed)]))
    best = trials[0]
    if best.status == "finished":
        values = [[key, str(value)] for key, value in best.values.items()]
        line = as_sentence(f"best.yaml is the configuration below with the values of trial {best.number}")
        parts.insert(1, Section("Best values", [line], [PageTable(["key", "value"], values)]))
    return parts
