"""Rows of a pool scored and weighted in one process: what `sgg compare` does for its cells."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from sgg_ray.alignment import Score, verdict
from sgg_ray.config import AlignmentConfig, Config
from sgg_ray.errors import ConfigError, TrainingError
from sgg_ray.models import EncoderClassifier, TaskModel, find_model
from sgg_ray.rows import OF_FEATURES
from sgg_ray.scoring.row_scores import TaskRows, score_rows
from sgg_ray.scoring.row_vectors import RowVectors, name_vectors, row_vectors
from sgg_ray.scoring.task_scores import mixture
from sgg_ray.tasks import Task


def check_row_scores(config: Config) -> None:
    """See whether rows can be ranked as ``alignment.row_scores`` asks.

    Raises:
        ConfigError: naming what to change or to install.
    """
    wanted = config.alignment.row_scores
    language_model = find_model(config.model.path).architecture.is_language_model
    if wanted == "less" and not language_model:
        raise ConfigError(
            "alignment.row_scores: less compares all trained parameters of a language model; of an encoder use cosine"
        )
    if config.alignment.row_weighting == "none":
        return
    if wanted in OF_FEATURES and language_model:
        raise ConfigError(
            f"alignment.row_scores: {wanted} looks at an encoder's features of texts; a language model has none; use "
            "influence, cosine, less, round_robin or random"
        )
    if wanted == "confident" and find_spec("cleanlab") is None:
        raise ConfigError(
            "alignment.row_scores: confident needs the package cleanlab; python -m pip install 'sgg-ray[compare]'"
        )


def vectors_of(model: TaskModel, task: Task, seed: int) -> RowVectors:
    """The vectors of all of a task's rows, and of what its labels are called."""
    return RowVectors(task, row_vectors(model, task, 0, len(task.train), seed), name_vectors(model, task))


def score_pool(
    model: TaskModel,
    vectors: Sequence[RowVectors],
    scores: Mapping[str, Score | None],
    settings: AlignmentConfig,
    *,
    share_labels: bool,
    seed: int,
) -> dict[str, TaskRows]:
    """Scores of every row of a pool, by task name, the target first.

    Args:
        model: that the vectors are of.
        vectors: of the target's shots, and of the rows of each source.
        scores: of the sources: whose word counts, and who contradicts the target.
        settings: ``weighting`` and ``row_scores`` are read.
        share_labels: ``train.share_labels``.
        seed: of a ranking that is random.

    Raises:
        ValueError: the shots are of one class.
    """
    return score_rows(
        vectors[0],
        vectors[1:],
        mixture(scores, settings.weighting),
        {name for name, score in scores.items() if verdict(score) == "harmful"},
        language_model=not isinstance(model, EncoderClassifier),
        share_labels=share_labels,
        ranked_by=settings.row_scores,
        seed=seed,
    )


def weigh_rows(
    model: TaskModel, vectors: Sequence[RowVectors], scores: Mapping[str, Score | None], config: Config
) -> dict[str, np.ndarray]:
    """Weights of the rows [n] of each source, as ``alignment.row_weighting`` asks; see :func:`score_pool`.

    Raises:
        TrainingError: the target's shots are of one class.
    """
    settings = config.alignment
    try:
        found = score_pool(
            model, vectors, scores, settings, share_labels=config.train.share_labels, seed=config.seed
        )
    except ValueError as error:
        raise TrainingError(f"target: {error}") from error
    return {
        one.task.name: found[one.task.name].weights(settings.row_weighting, settings.row_share)
        for one in vectors[1:]
    }


def with_weights(sources: Sequence[Task], weights: Mapping[str, np.ndarray]) -> list[Task]:
    """The sources with the rows whose weight is above 0, to be drawn by their weights.

    Args:
        weights: of the rows [n], by source.
    """
    return [replace(source, train=source.train.weighted(weights[source.name])) for source in sources]
