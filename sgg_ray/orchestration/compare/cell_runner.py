"""Cells of a comparison in one process: the model is loaded once, files are read once, texts are tokenised once.

Of a model in parts a group of processes does the same together.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from sgg_ray.config import Config, strategy_configs, with_target
from sgg_ray.evaluation import directional_alignment, gradient_stability
from sgg_ray.models import PretrainedModel, TaskModel, build_model, fit_tasks, place_model
from sgg_ray.orchestration.compare.split_scores import (
    SplitScores,
    drawn,
    scores_to_keep,
    scoring_of,
    shares_of,
)
from sgg_ray.scoring import (
    RowVectors,
    TaskSummariser,
    score_tasks,
    vectors_of,
    weigh_rows,
    with_weights,
)
from sgg_ray.tasks import Reader, Task, load_tasks
from sgg_ray.training import Event, Hooks, communicator_here, predict_rows, run_training, with_trajectories

# Keys that change nothing about what a cell comes to.
WITHOUT_EFFECT: Any = {
    **dict.fromkeys(("name", "ray", "tracking", "compare", "tune"), True),
    "model": {"license"},
    "target": {"license"},
    "guidance": {"view_modules"},
    "train": {"cuda_graphs"},
    "sources": {"__all__": {"license"}},
}
KEPT_SPLITS = 8  # most splits whose tasks a process remembers


@dataclass(frozen=True, order=True)
class Split:
    """What strategies that are compared have in common: target, shots and seed, hence all rows."""

    seed: int
    target: str
    shots: int


@dataclass(frozen=True)
class CellKey:
    """Key of one cell of the grid: strategy, target, shots and seed."""

    strategy: str
    split: Split

    def to_dict(self) -> dict[str, Any]:
        """Flat dictionary of plain values, for JSON and MLflow."""
        return {"strategy": self.strategy, **asdict(self.split)}


def cell_config(strategy: Config, split: Split) -> Config:
    """The configuration of one cell's training, from that of its strategy."""
    own = with_target(strategy, split.target, split.shots, split.seed)
    # Nobody computes scores beside a cell: its weights are those of the start.
    alignment = own.alignment.model_copy(update={"refresh_interval": 0})
    return own.model_copy(update={"alignment": alignment})


def fingerprint_of(strategy: Config, key: CellKey) -> str:
    """Equal for cells that are the same training, whatever else is in the grid."""
    assert strategy.compare is not None
    own = cell_config(strategy, key.split)
    text = own.model_dump_json(exclude=WITHOUT_EFFECT)
    judged = f"{strategy.compare.eval_split} {sorted(strategy.compare.unseen)}"
    return hashlib.blake2b(f"{key.strategy} {judged} {text}".encode(), digest_size=12).hexdigest()


class CellRunner:
    """Scores splits and trains cells in this process; with ``ray.sharding``, in all of its group at once.

    Args:
        config: the whole configuration, with its ``compare`` section.
        device: where models are.
    """

    def __init__(self, config: Config, device: torch.device):
        assert config.compare is not None
        self.config, self.compare, self.device = config, config.compare, device
        self.strategies = strategy_configs(config)
        self.communicator = communicator_here()
        self.reader = Reader()
        self.foundations: dict[tuple, PretrainedModel] = {}
        self.splits: OrderedDict[Split, tuple[Task, list[Task], list[Task]]] = OrderedDict()

    def score(self, split: Split) -> SplitScores:
        """Alignment of every source with the target, at the file's own model; None for a source that cannot be
        scored. Once for each way of scoring that a strategy has. One that weighs rows has the scores of the rows that
        are left, and the weights beside them."""
        target, sources, _ = self._tasks(split)
        found: SplitScores = {}
        summarisers: dict[tuple, TaskSummariser] = {}  # ways to meet share what is computed of the sources
        vectors: dict[tuple, list[RowVectors]] = {}  # of all rows, by what they depend on
        for own in (self.config, *self.strategies.values()):
            if scoring_of(own) in found:
                continue
            sections = {"alignment": own.alignment, "train": own.train}
            config = with_target(
                self.config.model_copy(update=sections), split.target, split.shots, split.seed
            )
            length, shared = own.train.max_length, own.train.share_labels
            place = (own.alignment, length)
            if place not in summarisers:
                model = place_model(
                    build_model(config, [target], self._foundation(config)), config, self.device
                )
                summarisers[place] = TaskSummariser(model, config.alignment, config.seed)
            model = summarisers[place].model
            scores, rows = score_tasks(summarisers[place], target, sources, shared), {}
            if own.alignment.row_weighting != "none":
                warmup = own.alignment.row_warmup if own.alignment.row_scores == "less" else None
                if (length, warmup) not in vectors:
                    found_rows = [vectors_of(model, task, config.seed) for task in (target, *sources)]
                    if warmup is not None:
                        found_rows = with_trajectories(model, found_rows, warmup, config.seed)  # pyright: ignore[reportArgumentType]
                    vectors[length, warmup] = found_rows
                rows = weigh_rows(model, vectors[length, warmup], scores, config)
                anew = TaskSummariser(model, config.alignment, config.seed)
                scores = score_tasks(anew, target, with_weights(sources, rows), shared)
            found[scoring_of(own)] = scores_to_keep(scores, rows)
        return found

    def train(self, key: CellKey, scores: SplitScores) -> dict[str, Any]:
        """Train, predict and measure one cell; plain values for JSON, of a group those of its first process.

        Args:
            scores: of the split; empty where there are no sources.

        Raises:
            TrainingError: the training cannot go on.
        """
        config = cell_config(self.strategies[key.strategy], key.split)
        target, sources, unseen = self._tasks(key.split)
        settings, guidance = config.alignment, config.guidance
        own_scores = scores.get(scoring_of(config), {})
        weights = shares_of(own_scores, settings.weighting)
        if guidance.lambda_source == 0 and guidance.lambda_alignment == 0:
            weights = {}
        # The same look at the sources for every strategy, whether it trains on them or not.
        probe = shares_of(scores.get(scoring_of(self.config), {}), "relu")
        events: list[Event] = []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        started = time.perf_counter()
        outcome = run_training(
            config,
            target,
            drawn([source for source in sources if weights.get(source.name, 0.0) > 0], own_scores),
            weights,
            self.device,
            self.communicator,
            Hooks(on_events=events.extend, probe=(sources, probe), whole_model=False),
            foundation=self._foundation(config),
        )
        seconds = time.perf_counter() - started
        predictions = outcome.predictions
        stability = gradient_stability(_column(events, "gradient_norm"), _column(events, "step_cosine"))
        cross = self._cross_task(outcome.model, target, unseen, config)
        memory = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else math.nan
        trainable, skipped = outcome.trainable, outcome.skipped_steps
        del outcome
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # other processes work on the same GPU
        return {
            **key.to_dict(),
            **predictions.metrics().of_cell(),
            "right": "".join("1" if one else "0" for one in predictions.correct),
            "stability": stability.mean_cosine,
            "norm_variation": stability.norm_variation,
            "alignment": directional_alignment(_column(events, "source_cosine")),
            "cross_task": float(np.mean(list(cross.values()))) if cross else math.nan,
            "cross_tasks": cross,
            "step_seconds": float(np.median(_column(events, "seconds"))) if events else math.nan,
            "trainable": trainable,
            "memory": memory,
            "seconds": seconds,
            "skipped_steps": skipped,
            "weights": weights,
        }

    def _tasks(self, split: Split) -> tuple[Task, list[Task], list[Task]]:
        """Target, sources and unseen tasks of a split."""
        if split not in self.splits:
            config = with_target(self.config, split.target, split.shots, split.seed)
            target, others = load_tasks(config, self.reader, self.compare.eval_split)
            (target, *others), _ = fit_tasks(config, [target, *others], shortest(self.strategies))
            unseen = [task for task in others if task.name in self.compare.unseen]
            sources = [task for task in others if task.name not in self.compare.unseen]
            self.splits[split] = target, sources, unseen
            if len(self.splits) > KEPT_SPLITS:
                self.splits.popitem(last=False)
        self.splits.move_to_end(split)
        return self.splits[split]

    def _foundation(self, config: Config) -> PretrainedModel | None:
        if config.ray.sharding is not None:  # one cell a process: a copy of the model would be for nothing
            return None
        model = config.model
        place = (
            model.path,
            model.pooling,
            model.precision,
            model.quantization,
            model.adapter is None,
        )  # what a foundation depends on
        if place not in self.foundations:
            self.foundations[place] = PretrainedModel(config.model, self.device)
        return self.foundations[place]

    def _cross_task(
        self, model: TaskModel, target: Task, unseen: list[Task], config: Config
    ) -> dict[str, float]:
        """What cells are ranked by, on the unseen tasks that have the target's head, or completions as it has."""
        size = config.train.eval_batch_size
        return {
            task.name: predict_rows(model, task, task.train, size, self.communicator)
            .metrics()
            .of_cell()["accuracy"]
            for task in unseen
            if task.head == target.head
        }


def shortest(strategies: Mapping[str, Config]) -> int:
    """The least ``train.max_length``: all strategies are compared on rows that fit into it."""
    return min(own.train.max_length for own in strategies.values())


def _column(events: list[Event], name: str) -> list[float]:
    return [event[name] for event in events if event.get(name) is not None]
