"""Backbones, heads keyed by label set, adapters; load and save."""

from sgg_ray.models.backbone import find_model, load_tokenizer, quiet_transformers
from sgg_ray.models.batch import Batch, TokenisedRows, batches_by_length
from sgg_ray.models.check import check_method, check_model, check_tasks, fit_tasks
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.models.foundation import Foundation
from sgg_ray.models.graphs import graphed
from sgg_ray.models.language_model import LanguageModel, PromptedRows
from sgg_ray.models.locate import locate_model
from sgg_ray.models.storage import (
    MODEL_MANIFEST,
    build_model,
    is_language_model,
    load_model,
    read_temperature,
    save_model,
    write_temperature,
)
from sgg_ray.models.task_model import TaskModel

__all__ = [
    "MODEL_MANIFEST",
    "Batch",
    "EncoderClassifier",
    "Foundation",
    "LanguageModel",
    "PromptedRows",
    "TaskModel",
    "TokenisedRows",
    "batches_by_length",
    "build_model",
    "check_method",
    "check_model",
    "check_tasks",
    "find_model",
    "fit_tasks",
    "graphed",
    "is_language_model",
    "load_model",
    "load_tokenizer",
    "locate_model",
    "quiet_transformers",
    "read_temperature",
    "save_model",
    "write_temperature",
]
