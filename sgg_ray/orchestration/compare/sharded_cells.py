"""Cells of a comparison whose model is in parts: a group of training workers for each."""

import uuid
from typing import Any

import torch

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import Config
from sgg_ray.orchestration.compare.cell_runner import CellKey, CellRunner, Split
from sgg_ray.orchestration.compare.split_scores import SplitScores
from sgg_ray.orchestration.runtime.executor import Executor

GROUP_STATE = "ray_groups"  # Ray Train's own folders inside the run folder, one a group


class ShardedCells:
    """Asks a group of workers for the scores of a split or for a cell, one at a time, and waits for them.

    Args:
        config: the whole configuration.
        executor: what runs the workers.
        state: for what these keep while they work.
    """

    def __init__(self, config: Config, executor: Executor, state: StorageFolder):
        self.config, self.executor, self.state = config, executor, state

    def score(self, split: Split) -> SplitScores:
        """Score the sources of one split."""
        return self.executor.together(
            score_split, self.config, split, asked=self.config.ray, state=self._place()
        )

    def train(self, key: CellKey, scores: SplitScores) -> dict[str, Any]:
        """Train one cell and return its result."""
        return self.executor.together(
            train_cell, self.config, key, scores, asked=self.config.ray, state=self._place()
        )

    def _place(self) -> StorageFolder:
        """A name of its own: workers of a process that has died may still be writing to the last one."""
        return self.state.child(uuid.uuid4().hex)


def score_split(config: Config, split: Split, device: torch.device) -> SplitScores:
    """What each process of a group does for the scores of a split."""
    return CellRunner(config, device).score(split)


def train_cell(config: Config, key: CellKey, scores: SplitScores, device: torch.device) -> dict[str, Any]:
    """What each process of a group does for a cell."""
    return CellRunner(config, device).train(key, scores)
