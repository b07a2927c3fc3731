"""What a comparison leaves: statistics, tables, pictures, and the same in MLflow."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import targets_of, with_target
from sgg_ray.evaluation import Cell, Ranking, Standing, mean_ranks, standings
from sgg_ray.orchestration.compare.cell_record import CellRecord, ChildRuns
from sgg_ray.orchestration.compare.cell_runner import CellKey
from sgg_ray.orchestration.compare.comparison_plan import ComparisonPlan
from sgg_ray.orchestration.run_page import write_page
from sgg_ray.report import (
    Comparison,
    comparison_sections,
    plot_ranks,
    plot_shots,
    plot_stability,
    sentences,
)
from sgg_ray.tracking import Tracker

# What strategies are judged by, where it is not accuracy.
MEASURED = {"generation": "exact match", "multi_label": "micro-F1", "regression": "Spearman's correlation"}


def report_comparison(
    plan: ComparisonPlan, record: CellRecord, children: ChildRuns, tracker: Tracker
) -> tuple[Comparison, list[Cell]]:
    """Write what there is, whole or in part."""
    cells = record.cells()
    folder = record.folder
    comparison = summarise(plan, cells, record.failures)
    try:
        if cells:
            files = _write(comparison, cells, folder)
            tracker.log_metrics([(0, _summary(comparison.rows))])
            tracker.describe(comparison.markdown())
            tracker.log_artifacts([folder.path / "config.yaml", *files])
    finally:
        children.close()
    return comparison, cells


def summarise(plan: ComparisonPlan, cells: list[Cell], failures: Mapping[CellKey, str]) -> Comparison:
    """Compute the statistics over the finished cells."""
    rows: list[Standing] = standings(cells, plan.baseline) if cells else []
    ranking: Ranking | None = mean_ranks(cells) if cells else None
    descriptions = {entry.name: entry.description for entry in plan.settings.strategies}
    return Comparison(
        rows=rows,
        ranking=ranking,
        baseline=plan.baseline,
        eval_split=plan.settings.eval_split,
        seeds=sorted({split.seed for split in plan.splits}),
        targets=targets_of(plan.config),
        missing=len(plan.keys) - len(cells),
        failures={cell_name(key): reason for key, reason in failures.items()},
        descriptions=descriptions,
        measure=MEASURED.get(_kind(plan), "accuracy"),
    )


def _kind(plan: ComparisonPlan) -> str:
    """Kind of the targets, which all have the same one."""
    split = plan.splits[0]
    return with_target(plan.config, split.target, split.shots, split.seed).target.kind


def _write(comparison: Comparison, cells: list[Cell], folder: RunFolder) -> list[Path]:
    """Tables and pictures; returns the files."""
    import pandas as pd

    frame = pd.DataFrame([row.to_dict() for row in comparison.rows])
    files = [
        folder.write_text("compare.md", comparison.markdown()),
        folder.write_text("compare.tex", comparison.latex()),
        folder.write_json("compare.json", comparison.to_dict()),
        folder.write_text("compare.csv", frame.to_csv(index=False, lineterminator="\n")),
        folder.write_parquet("cells.parquet", _cells_frame(cells)),
        plot_shots(comparison, folder.path / "shots.png"),
    ]
    if comparison.ranking is not None:
        files.append(plot_ranks(comparison.ranking, folder.path / "ranks.png"))
    drawn = plot_stability(comparison, folder.path / "stability.png")
    page = write_page(
        folder, "compare", sentences(comparison.conclusion()), comparison_sections(comparison, folder.path)
    )
    return [*files, *([drawn] if drawn else []), page]


def _cells_frame(cells: list[Cell]) -> Any:
    """A row a cell, without its test rows."""
    import pandas as pd

    names = [field.name for field in fields(Cell) if field.name != "right"]
    return pd.DataFrame([{name: getattr(cell, name) for name in names} for cell in cells])


def _summary(rows: list[Standing]) -> dict[str, float]:
    """For the parent run: accuracy, and gain over the baseline, by strategy and shots."""
    values = {}
    for row in rows:
        place = f"{row.strategy}/{'all' if row.shots is None else row.shots}"
        values[f"accuracy/{place}"] = row.mean
        if row.contrast is not None:
            values[f"gain/{place}"] = row.contrast.difference
    return values


def cell_name(key: CellKey) -> str:
    """A cell in words."""
    return f"{key.strategy} on {key.split.target}, {key.split.shots} shots, seed {key.split.seed}"
