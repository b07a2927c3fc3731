"""A pool scored by all workers of a process group together, each of which holds a part of the model."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.errors import TrainingError
from sgg_ray.models import build_model, place_model
from sgg_ray.scoring.layer_comparison import LayerComparison
from sgg_ray.scoring.pool_gradients import PoolGradients, pool_gradients
from sgg_ray.scoring.task_gradients import TaskSummariser
from sgg_ray.tasks import Task


@dataclass(frozen=True)
class ScoredPool:
    """What came of it, the same on all workers.

    Attributes:
        gradients: of target and sources.
        layers: cosine of each source's gradient with the target's, layer by layer, of those that have one.
    """

    gradients: PoolGradients
    layers: Mapping[str, Mapping[str, float]]


def score_sharded(config: Config, target: Task, sources: Sequence[Task], device: torch.device) -> ScoredPool:
    """Summarise target and sources with a language model in parts; every worker has to call this.

    Each worker takes its share of the rows of every pass. Where a process group is missing, the model is whole.

    Args:
        device: of this worker.

    Raises:
        ModelError: the model cannot be built or sharded.
        TrainingError: the target's gradients are not usable.
    """
    summariser = _summariser(config, target, device)
    gradients = pool_gradients(summariser, target, sources, config.train.share_labels)
    comparison = LayerComparison(summariser.model, config.seed)
    layers: dict[str, Mapping[str, float]] = {}
    if not target.values_only:
        of_target = comparison.target(target, ())  # a language model has no heads: labels need not be common
        for source in sources:
            if source.name not in gradients.failures and not source.values_only:
                with suppress(TrainingError):
                    layers[source.name] = comparison.source(source, of_target)
    return ScoredPool(gradients, layers)


def score_folds_sharded(
    config: Config, target: Task, kept: Sequence[np.ndarray], sources: Sequence[Task], device: torch.device
) -> list[PoolGradients]:
    """The same for some of the target's shots, then for others; the sources' own gradients are taken once.

    Args:
        kept: positions of the shots to use, each time.

    Raises:
        ModelError: the model cannot be built or sharded.
        TrainingError: the target's gradients are not usable.
    """
    summariser = _summariser(config, target, device)
    shots = [replace(target, train=target.train.take(rows)) for rows in kept]
    return [pool_gradients(summariser, some, sources, config.train.share_labels) for some in shots]


def _summariser(config: Config, target: Task, device: torch.device) -> TaskSummariser:
    """With a part of the model as loaded, or with all of it where there is no process group."""
    model = place_model(build_model(config, [target]), config, device)
    return TaskSummariser(model, config.alignment, config.seed)
