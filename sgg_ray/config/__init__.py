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
)

__all__ = [
    "AlignmentConfig",
    "Config",
    "GuidanceConfig",
    "HeldOutConfig",
    "ModelConfig",
    "RayConfig",
    "SourceConfig",
    "TargetConfig",
    "TaskConfig",
    "TrackingConfig",
    "TrainConfig",
    "config_schema",
    "dump_config",
    "label_name",
    "load_config",
]
