"""The YAML file: its schema, and the only code that reads it."""

from sgg_ray.config.addresses import resolved
from sgg_ray.config.config_file import config_schema, dump_config, load_config, passwords_in
from sgg_ray.config.document import write_yaml
from sgg_ray.config.fields import LABELS, PLACEHOLDER, TEXT, placeholders, text_fields
from sgg_ray.config.kinds import without_effect
from sgg_ray.config.label_names import UNSEEN, label_name, listed_labels, quoted_label
from sgg_ray.config.model_section import ModelConfig
from sgg_ray.config.roles import shots_of, targets_of, with_target
from sgg_ray.config.run_sections import RayConfig, TrackingConfig
from sgg_ray.config.schema import Config
from sgg_ray.config.search_sections import CompareConfig, StrategyConfig, TuneConfig
from sgg_ray.config.space import Distribution, depends_on_scores, with_values
from sgg_ray.config.strategies import apply_strategy, shipped_strategy, strategy_configs
from sgg_ray.config.task_sections import HeldOutConfig, Kind, SourceConfig, TargetConfig, TaskConfig
from sgg_ray.config.training_sections import (
    AlignmentConfig,
    GuidanceConfig,
    TrainConfig,
    WarmupConfig,
    longest_input,
)
from sgg_ray.config.values import as_list

__all__ = [
    "LABELS",
    "PLACEHOLDER",
    "TEXT",
    "UNSEEN",
    "AlignmentConfig",
    "CompareConfig",
    "Config",
    "Distribution",
    "GuidanceConfig",
    "HeldOutConfig",
    "Kind",
    "ModelConfig",
    "RayConfig",
    "SourceConfig",
    "StrategyConfig",
    "TargetConfig",
    "TaskConfig",
    "TrackingConfig",
    "TrainConfig",
    "TuneConfig",
    "WarmupConfig",
    "apply_strategy",
    "as_list",
    "config_schema",
    "depends_on_scores",
    "dump_config",
    "label_name",
    "listed_labels",
    "load_config",
    "longest_input",
    "passwords_in",
    "placeholders",
    "quoted_label",
    "resolved",
    "shipped_strategy",
    "shots_of",
    "strategy_configs",
    "targets_of",
    "text_fields",
    "with_target",
    "with_values",
    "without_effect",
    "write_yaml",
]
