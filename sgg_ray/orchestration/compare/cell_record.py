"""The driver's record of a comparison: a JSON file a cell, a child run a cell in MLflow, running means."""

import json
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config
from sgg_ray.errors import ClusterError
from sgg_ray.evaluation import Cell
from sgg_ray.evaluation.standings import MEASURES
from sgg_ray.orchestration.compare.cell_runner import (
    CellKey,
    Split,
    cell_config,
    fingerprint_of,
)
from sgg_ray.orchestration.compare.split_scores import SplitScores, scoring_of
from sgg_ray.tracking import Tracker

CELLS, SCORES, RUNS = "cells", "split_scores", "mlflow_runs.json"
SAVE_EVERY = 25  # cells between two writings of RUNS
MOST_FAILURES = 3  # in a row, after which MLflow is left alone: each costs its timeout


class CellRecord:
    """Keeps cells and scores in the run folder, one file each, so that whatever ends the driver loses none.

    Args:
        folder: of the run; only read until the first cell.
        strategies: configuration of each strategy.
        config: the whole configuration.
    """

    def __init__(self, folder: RunFolder, config: Config, strategies: Mapping[str, Config]):
        self.folder, self.config, self.strategies = folder, config, strategies
        self.found: dict[CellKey, dict[str, Any]] = {}
        self.failures: dict[CellKey, str] = {}

    def recall(self, keys: list[CellKey]) -> None:
        """Read the cells that an earlier, interrupted run of the command has finished."""
        for key in keys:
            stored = self._read(f"{CELLS}/{self.name_of(key)}.json")
            if stored is not None:
                self.found[key] = stored

    def recall_scores(self, splits: list[Split]) -> dict[Split, SplitScores]:
        """Scores that were taken before, of splits that have all that the strategies need; some may be new."""
        needed = {scoring_of(own) for own in (self.config, *self.strategies.values())}
        stored = {split: self._read(f"{SCORES}/{self._score_name(split)}.json") for split in splits}
        return {split: scores for split, scores in stored.items() if scores and needed <= set(scores)}

    def keep(self, key: CellKey, result: dict[str, Any]) -> None:
        """Record one finished cell."""
        self.folder.write_json(f"{CELLS}/{self.name_of(key)}.json", result)
        self.found[key] = result
        self.failures.pop(key, None)

    def keep_scores(self, split: Split, scores: SplitScores) -> None:
        """Store the alignment scores of one split."""
        self.folder.write_json(f"{SCORES}/{self._score_name(split)}.json", scores)

    def fail(self, key: CellKey, reason: str) -> None:
        """A cell has failed for good. It is tried again when the command is given again."""
        self.failures[key] = reason

    def cells(self) -> list[Cell]:
        """All finished cells, in the order of strategies, targets, shots and seeds."""
        order = list(self.strategies)
        keys = sorted(
            self.found,
            key=lambda key: (order.index(key.strategy), key.split.target, key.split.shots, key.split.seed),
        )
        return [_cell(self.found[key]) for key in keys]

    def standings(self, total: int) -> list[tuple[str, int, int, str]]:
        """How far each strategy is, and its mean accuracy so far."""
        values: dict[str, list[float]] = {strategy: [] for strategy in self.strategies}
        for key, result in self.found.items():
            values[key.strategy].append(result["accuracy"])
        return [
            (strategy, len(own), total, f"{100 * np.mean(own):.1f} %" if own else "")
            for strategy, own in values.items()
        ]

    def name_of(self, key: CellKey) -> str:
        """Name of the file of one cell."""
        return fingerprint_of(self.strategies[key.strategy], key)

    def _score_name(self, split: Split) -> str:
        return f"{split.target}-{split.shots}-{split.seed}"

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


class ChildRuns:
    """Writes a child run a cell to MLflow, in a thread of its own: a database is slower than the grid.

    Args:
        tracker: the parent run's.
        record: of the cells.
    """

    def __init__(self, tracker: Tracker, record: CellRecord):
        self.tracker, self.record = tracker, record
        path = record.folder.path / RUNS
        self.runs: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.missing = 0  # cells that MLflow did not take
        self._queue: queue.SimpleQueue[CellKey | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow-cells", daemon=True)
        self._thread.start()
        for key in record.found:  # finished before the driver was killed, and perhaps not written
            self.add(key)

    def add(self, key: CellKey) -> None:
        """Record one finished cell."""
        self._queue.put(key)

    def close(self) -> None:
        """Wait until all cells are written."""
        self._queue.put(None)
        self._thread.join()
        self.record.folder.write_json(RUNS, self.runs)

    def _work(self) -> None:
        failures = 0
        while (key := self._queue.get()) is not None:
            name = self.record.name_of(key)
            if name in self.runs:
                continue
            run_id = None if failures >= MOST_FAILURES else self._write(key, self.record.found[key])
            if run_id is None:
                failures += 1
                self.missing += 1
                continue
            failures = 0
            self.runs[name] = run_id
            if len(self.runs) % SAVE_EVERY == 0:
                with suppress(OSError, ClusterError):  # nobody hears a thread; the end writes it again
                    self.record.folder.write_json(RUNS, self.runs)

    def _write(self, key: CellKey, result: Mapping[str, Any]) -> str | None:
        """Id of the cell's run, or None when MLflow did not take it."""
        split = key.split
        own = cell_config(self.record.strategies[key.strategy], split).flat()
        sections = ("model.", "alignment.", "guidance.", "train.")
        params = {name: value for name, value in own.items() if name.startswith(sections)} | key.to_dict()
        tags = {"sgg.command": "cell", "sgg.strategy": key.strategy, "sgg.target": split.target}
        child = self.tracker.child(
            f"{key.strategy} {split.target} {split.shots} shots seed {split.seed}", params, tags
        )
        names = ("accuracy", *MEASURES, "seconds", "skipped_steps")
        child.log_metrics([(0, {name: result.get(name) for name in names})])
        return child.run_id if child.finish() else None


def _cell(stored: Mapping[str, Any]) -> Cell:
    measures = {name: np.nan if stored.get(name) is None else stored[name] for name in MEASURES}
    return Cell(
        strategy=stored["strategy"],
        target=stored["target"],
        shots=stored["shots"],
        seed=stored["seed"],
        accuracy=stored["accuracy"],
        right=np.array([mark == "1" for mark in stored["right"]]),
        **measures,
    )
