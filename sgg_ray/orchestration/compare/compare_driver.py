"""`sgg compare`: every strategy on every target, number of shots and seed, and the statistics of it."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, with_target
from sgg_ray.errors import ClusterError
from sgg_ray.evaluation import Cell
from sgg_ray.orchestration.compare.cell_record import CellRecord, ChildRuns
from sgg_ray.orchestration.compare.cell_runner import CellKey, Split
from sgg_ray.orchestration.compare.cell_scheduler import CellScheduler, slots_for
from sgg_ray.orchestration.compare.comparison_plan import ComparisonPlan, prepare_comparison
from sgg_ray.orchestration.compare.comparison_report import cell_name, report_comparison
from sgg_ray.orchestration.compare.sharded_cells import GROUP_STATE
from sgg_ray.orchestration.lifecycle import begin_run, recorded
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.runtime.cluster import opened
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.report import (
    Comparison,
    duration,
    html_comparison,
    html_page,
    html_picture,
)

# What strategies are judged by, where it is not accuracy.
MEASURED = {"generation": "exact match", "multi_label": "micro-F1", "regression": "Spearman's correlation"}


@dataclass(frozen=True)
class CompareResult:
    """Result of a comparison: its cells and statistics. An interrupted one holds the cells finished so far."""

    folder: Path
    comparison: Comparison
    cells: list[Cell]
    total: int  # cells of the grid
    seconds: float  # that this grid has run, without reading tasks and starting Ray
    overhead: float  # share of the processes' time that was neither training nor prediction

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "folder": str(self.folder),
            "cells": len(self.cells),
            "total": self.total,
            "seconds": self.seconds,
            "overhead": self.overhead,
            **self.comparison.to_dict(),
        }

    def _repr_html_(self) -> str:
        found = self.comparison
        title = f"{self.folder.name}: {len(self.cells)} of {self.total} cells"
        pictures = (html_picture(self.folder / name) for name in ("shots.png", "ranks.png"))
        return html_page(title, html_comparison(found), *pictures)


def compare(
    config: Config, listener: Listener | None = None, executor: Executor | None = None
) -> CompareResult:
    """Run the grid of ``config.compare`` and leave tables, plots, a file and an MLflow run a cell.

    A comparison that was stopped in any way goes on under the same name with the cells that are missing. When it is
    interrupted, it leaves the report of what there is.

    Args:
        executor: what runs the cells; Ray, as ``ray`` in the configuration says, unless given.

    Raises:
        SggError: bad input (exit 2) before anything starts; a failing cluster, or no cell that finished (exit 1).
    """
    listener = listener or NullListener()
    plan = prepare_comparison(config, listener)
    folder = RunFolder(config.ray.storage_path, config.name)
    at_once = plan.settings.max_concurrent_cells
    with opened(config.ray, listener, executor, at_once or 1) as executor:
        slots = slots_for(config, at_once, len(plan.keys), executor)
        tracker = begin_run(config, folder, "compare", plan.content, listener)
        record = CellRecord(folder, config, plan.strategies)
        record.recall(plan.keys)
        if record.found:
            listener.note(f"{len(record.found)} finished cells are kept")
        kept = set(record.found)
        children = ChildRuns(tracker, record)
        started = time.monotonic()
        with recorded(folder, tracker):
            try:
                _run(plan, executor, slots, record, children, listener)
                seconds = time.monotonic() - started
            finally:
                comparison, cells = report_comparison(plan, record, children, tracker)
            if not cells:
                reason = next(iter(record.failures.values()), "nothing ran")
                raise ClusterError(f"no cell of the grid finished; the first failed with: {reason}")
            folder.finish()
        tracker.finish()
        if children.missing:
            listener.note(f"{children.missing} cells are not in MLflow; they are in {folder.path}")
        worked = sum(result["seconds"] for key, result in record.found.items() if key not in kept)
        overhead = 1 - worked / (slots * seconds)
        listener.note(
            f"{len(record.found) - len(kept)} cells in {duration(seconds)} on {slots} processes, "
            f"{100 * overhead:.0f} % of that time not spent on training and prediction"
        )
        return CompareResult(folder.path, comparison, cells, len(plan.keys), seconds, overhead)


def _run(
    plan: ComparisonPlan,
    executor: Executor,
    slots: int,
    record: CellRecord,
    children: ChildRuns,
    listener: Listener,
) -> None:
    """Run the cells that are missing."""
    config, total = plan.config, len(plan.keys)
    missing: dict[Split, list[CellKey]] = {split: [] for split in plan.splits}
    for key in plan.keys:
        if key not in record.found:
            missing[key.split].append(key)
    left = sum(map(len, missing.values()))
    listener.stage(
        f"{total} cells: {len(plan.strategies)} strategies × {len(plan.splits)} splits, {slots} at a time"
    )
    started = time.monotonic()

    def advance() -> None:
        done = len(record.found)
        now = done - (total - left)
        rest = (time.monotonic() - started) / now * (total - done) if now else math.nan
        listener.advance(done, total, "cells", f"{duration(rest)} left" if now and done < total else "")
        listener.standings(record.standings(len(plan.splits)))

    def on_cell(key: CellKey, result: dict[str, Any]) -> None:
        record.keep(key, result)
        children.add(key)
        advance()

    def on_failure(key: CellKey, reason: str) -> None:
        record.fail(key, reason)
        listener.note(f"{cell_name(key)} failed: {reason}")

    told: set[str] = set()

    def on_retry(reason: str) -> None:
        if reason not in told:
            told.add(reason)
            listener.note(f"a cell failed, retrying: {reason}")

    grid = CellScheduler(
        executor,
        config,
        slots,
        missing,
        record.recall_scores(plan.splits),
        lambda split: bool(with_target(config, split.target, split.shots, split.seed).sources),
        record.keep_scores,
        on_cell,
        on_failure,
        on_retry,
        record.folder.state(GROUP_STATE),
    )
    try:
        grid.run()
    finally:
        grid.close()
    record.folder.state(GROUP_STATE).delete()
