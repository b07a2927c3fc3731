"""The YAML file: its schema, and the only code that reads it."""

from sgg_ray.config.labels import label_name
from sgg_ray.config.load import config_schema, dump_config, load_config
from sgg_ray.config.schema import (
    AlignmentConfig,
    Config,
    GuidanceConfig,
    HeldOutConfig,
    ModelConfig,
    RayConfig,
    SourceConfig,
    TargetConfig,
    TaskConfig,
    TrackingConfig,
    TrainConfig,
    TuneConfig,
)
from sgg_ray.config.space import Distribution, depends_on_scores, with_values

__all__ = [
    "AlignmentConfig",
    "Config",
    "Distribution",
    "GuidanceConfig",
    "HeldOutConfig",
    "ModelConfig",
    "RayConfig",
    "SourceConfig",
    "TargetConfig",
    "TaskConfig",
    "TrackingConfig",
    "TrainConfig",
    "TuneConfig",
    "config_schema",
    "depends_on_scores",
    "dump_config",
    "label_name",
    "load_config",
    "with_values",
]
