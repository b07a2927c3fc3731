"""`sgg compare`: every strategy on every target, number of shots and seed, and the statistics of it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import CompareConfig, Config, shots_of, strategy_configs, targets_of, with_target
from sgg_ray.errors import ClusterError, ConfigError
from sgg_ray.evaluation import Cell, Ranking, Standing, mean_ranks, standings
from sgg_ray.guidance import check_combination
from sgg_ray.models import check_method, check_model, check_tasks, fit_tasks
from sgg_ray.orchestration.compare.cell_record import CellRecord, ChildRuns
from sgg_ray.orchestration.compare.cell_runner import CellKey, Split, shortest
from sgg_ray.orchestration.compare.cell_scheduler import CellScheduler, slots_for
from sgg_ray.orchestration.lifecycle import begin_run, recorded, refuse_other_rows
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.run_page import write_page
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.cluster import opened
from sgg_ray.orchestration.runtime.executor import Executor
from sgg_ray.orchestration.score.row_scoring import refuse_row_weighting
from sgg_ray.report import (
    Comparison,
    comparison_sections,
    html_comparison,
    html_page,
    html_picture,
    plot_ranks,
    plot_shots,
    plot_stability,
    sentences,
)
from sgg_ray.tasks import Reader, Task, load_tasks
from sgg_ray.tracking import Tracker, check_database
from sgg_ray.training import check_setfit

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


@dataclass(frozen=True)
class _Plan:
    """What is known before a comparison starts."""

    config: Config
    settings: CompareConfig
    strategies: dict[str, Config]
    splits: list[Split]
    content: str

    @property
    def keys(self) -> list[CellKey]:
        """All cells: seed by seed, so that a part of the grid has all strategies."""
        return [CellKey(strategy, split) for split in self.splits for strategy in self.strategies]

    @property
    def baseline(self) -> str:
        return self.settings.baseline or next(iter(self.strategies))


def prepare_comparison(config: Config, listener: Listener) -> _Plan:
    """Everything that can be checked before a comparison starts, or goes on.

    Raises:
        SggError: bad input (exit 2).
    """
    settings = config.compare
    if settings is None:
        raise ConfigError(
            "compare: is missing; add the section with its strategies, as in pipelines/configs/compare.yaml"
        )
    if config.ray.num_workers > 1:
        raise ConfigError(
            f"ray.num_workers: a cell of a comparison trains in one process, found {config.ray.num_workers}; use "
            f"1 (cells "
            "run beside each other instead)"
        )
    folder = RunFolder(config.ray.storage_path, config.name)
    resumes = folder.check(config)
    check_database(config.tracking.uri)
    strategies = strategy_configs(config)
    _check_strategies(strategies)
    content = fingerprint(_read(config, shortest(strategies), listener))
    if resumes:
        refuse_other_rows(folder, content)
    if any(own.alignment.refresh_interval for own in strategies.values()):
        listener.note("cells score the sources once: alignment.refresh_interval is for training")
    seeds = range(config.seed, config.seed + settings.seeds)
    splits = [
        Split(seed, target, shots)
        for seed in seeds
        for target in targets_of(config)
        for shots in shots_of(config)
    ]
    return _Plan(config, settings, strategies, splits, content)


def _check_strategies(strategies: Mapping[str, Config]) -> None:
    """Look at every different model, and at the packages that strategies need."""
    seen = set()
    for own in strategies.values():
        check_combination(own.train.combine)
        check_setfit(own)
        check_method(own)
        refuse_row_weighting(own, "compare")
        place = own.model.model_dump_json(), own.train.max_length
        if place not in seen:
            seen.add(place)
            generates = own.target.kind == "generation"
            check_model(own.model, own.train.max_length, own.train.max_new_tokens if generates else 0)


def _read(config: Config, max_length: int, listener: Listener) -> list[Task]:
    """Read every target's rows at the most shots, so that bad data is found now; told of each task once."""
    assert config.compare is not None
    listener.stage("reading tasks")
    reader, told, tasks = Reader(), set(), []
    for name in targets_of(config):
        own = with_target(config, name, max(shots_of(config)), config.seed)
        target, sources = load_tasks(own, reader, config.compare.eval_split)
        (target, *sources), lines = fit_tasks(own, [target, *sources], max_length)
        if target.kind != "classification":
            check_tasks(own, [target])
        lines += [f"{task.name}: {note}" for task in (target, *sources) for note in task.notes]
        tasks += [target, *sources]
        for line in lines:
            if line not in told:
                told.add(line)
                listener.note(line)
    return tasks


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
                comparison, cells = _report(plan, record, children, tracker)
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
            f"{len(record.found) - len(kept)} cells in {_duration(seconds)} on {slots} processes, "
            f"{100 * overhead:.0f} % of that time not spent on training and prediction"
        )
        return CompareResult(folder.path, comparison, cells, len(plan.keys), seconds, overhead)


def _run(
    plan: _Plan,
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
        listener.advance(done, total, "cells", f"{_duration(rest)} left" if now and done < total else "")
        listener.standings(record.standings(len(plan.splits)))

    def on_cell(key: CellKey, result: dict[str, Any]) -> None:
        record.keep(key, result)
        children.add(key)
        advance()

    def on_failure(key: CellKey, reason: str) -> None:
        record.fail(key, reason)
        listener.note(f"{_cell_name(key)} failed: {reason}")

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
    )
    try:
        grid.run()
    finally:
        grid.close()


def _report(
    plan: _Plan, record: CellRecord, children: ChildRuns, tracker: Tracker
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


def summarise(plan: _Plan, cells: list[Cell], failures: Mapping[CellKey, str]) -> Comparison:
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
        failures={_cell_name(key): reason for key, reason in failures.items()},
        descriptions=descriptions,
        measure=MEASURED.get(_kind(plan), "accuracy"),
    )


def _kind(plan: _Plan) -> str:
    """Of the targets, which all have the same."""
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


def _cell_name(key: CellKey) -> str:
    return f"{key.strategy} on {key.split.target}, {key.split.shots} shots, seed {key.split.seed}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
