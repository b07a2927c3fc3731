"""What is known of a comparison before it starts: its strategies, its splits, and that its rows can be read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import (
    CompareConfig,
    Config,
    longest_input,
    shots_of,
    strategy_configs,
    targets_of,
    with_target,
)
from sgg_ray.errors import ConfigError, ModelError
from sgg_ray.guidance import check_combination
from sgg_ray.models import check_model, check_settings, check_tasks, fit_tasks
from sgg_ray.orchestration.compare.cell_runner import CellKey, Split, shortest
from sgg_ray.orchestration.lifecycle import refuse_other_rows
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.orchestration.runtime.capacity import refuse_elastic
from sgg_ray.orchestration.score.row_scoring import require_labels
from sgg_ray.scoring import check_row_scores
from sgg_ray.tasks import Reader, Task, load_tasks
from sgg_ray.tracking import check_database
from sgg_ray.training import check_setfit

# What strategies are judged by, where it is not accuracy.
MEASURED = {"generation": "exact match", "multi_label": "micro-F1", "regression": "Spearman's correlation"}


@dataclass(frozen=True)
class ComparisonPlan:
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
        """Strategy that the others are compared with."""
        return self.settings.baseline or next(iter(self.strategies))


def prepare_comparison(config: Config, listener: Listener) -> ComparisonPlan:
    """Everything that can be checked before a comparison starts, or goes on.

    Raises:
        SggError: bad input (exit 2).
    """
    settings = config.compare
    if settings is None:
        raise ConfigError(
            "compare: is missing; add the section with its strategies, as in pipelines/configs/compare.yaml"
        )
    if config.ray.num_workers > 1 and config.ray.sharding is None:
        raise ConfigError(
            f"ray.num_workers: a cell of a comparison trains in one process, found {config.ray.num_workers}; use "
            f"1 (cells "
            "run beside each other instead)"
        )
    refuse_elastic(config, "comparison")
    folder = RunFolder(config.ray.storage_path, config.name)
    resumes = folder.check(config)
    check_database(config.tracking.uri)
    strategies = strategy_configs(config)
    _check_settings(strategies)
    weighs_rows = any(own.alignment.row_weighting != "none" for own in strategies.values())
    content = fingerprint(_read(config, strategies, weighs_rows, listener))
    _check_models(strategies)
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
    return ComparisonPlan(config, settings, strategies, splits, content)


@contextmanager
def _named(strategy: str) -> Iterator[None]:
    """Context manager: what a strategy's model cannot do is said with the strategy's name."""
    try:
        yield
    except ModelError as error:
        raise ModelError([f"compare.strategies.{strategy}.{line}" for line in error.problems]) from None


def _check_settings(strategies: Mapping[str, Config]) -> None:
    """See whether strategies are for this kind of model, and whether the packages that they need are there."""
    for name, own in strategies.items():
        with _named(name):
            check_settings(own)
        check_combination(own.train.combine)
        check_setfit(own)
        check_row_scores(own)


def _check_models(strategies: Mapping[str, Config]) -> None:
    """Look at every different model."""
    seen = set()
    for name, own in strategies.items():
        place = own.model.model_dump_json(), longest_input(own.train)
        if place not in seen:
            seen.add(place)
            generates = own.target.kind == "generation"
            with _named(name):
                check_model(own.model, longest_input(own.train), own.train.max_new_tokens if generates else 0)


def _read(
    config: Config, strategies: Mapping[str, Config], weighs_rows: bool, listener: Listener
) -> list[Task]:
    """Read every target's rows at the most shots, so that bad data is found now; told of each task once.

    Args:
        weighs_rows: whether a strategy does.
    """
    models = {own.model.path: own.model for own in strategies.values()}.values()
    assert config.compare is not None
    listener.stage("reading tasks")
    reader, told, tasks = Reader(), set(), []
    for name in targets_of(config):
        own = with_target(config, name, max(shots_of(config)), config.seed)
        target, sources = load_tasks(own, reader, config.compare.eval_split)
        (target, *sources), lines = fit_tasks(own, [target, *sources], shortest(strategies))
        if weighs_rows:
            require_labels(target)
        for model in models:
            lines += check_tasks(own.model_copy(update={"model": model}), [target, *sources])
        lines += [f"{task.name}: {note}" for task in (target, *sources) for note in task.notes]
        tasks += [target, *sources]
        for line in lines:
            if line not in told:
                told.add(line)
                listener.note(line)
    return tasks
