"""Backbones, heads keyed by label set, adapters; load and save."""

from sgg_ray.models.answer_batch import PromptedRows
from sgg_ray.models.architecture import Architecture
from sgg_ray.models.average_folder import drop_last_member
from sgg_ray.models.averaged import AveragedModel
from sgg_ray.models.backbone import find_model, load_tokenizer
from sgg_ray.models.batch import Batch, TokenisedRows, batches_by_length
from sgg_ray.models.build import build_model
from sgg_ray.models.card import card_header
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.models.data_look import DataLook, TaskLook, data_warnings, look_at_data
from sgg_ray.models.encoder_decoder import EncoderDecoderModel
from sgg_ray.models.episodes import in_turn, most_examples
from sgg_ray.models.graphs import graphed
from sgg_ray.models.language_model import LanguageModel
from sgg_ray.models.locate import locate_model
from sgg_ray.models.manifest import MODEL_MANIFEST, read_manifest
from sgg_ray.models.model_checks import check_model
from sgg_ray.models.model_files import read_object
from sgg_ray.models.model_folder import (
    MEMBER,
    is_language_model,
    load_model,
    read_temperature,
    save_model,
    write_calibration,
)
from sgg_ray.models.objectives import Number, Objective, objective_of
from sgg_ray.models.pretrained_model import PretrainedModel
from sgg_ray.models.quantised import import_peft
from sgg_ray.models.setting_checks import check_settings
from sgg_ray.models.sharding import (
    check_sharding,
    gathered,
    kept_between_passes,
    place_model,
    release,
    shard_model,
)
from sgg_ray.models.standalone import standalone
from sgg_ray.models.task_checks import check_tasks, fit_tasks
from sgg_ray.models.task_model import TaskModel, is_sharded
from sgg_ray.models.transformers_output import quiet_transformers

__all__ = [
    "MEMBER",
    "MODEL_MANIFEST",
    "Architecture",
    "AveragedModel",
    "Batch",
    "DataLook",
    "EncoderClassifier",
    "EncoderDecoderModel",
    "LanguageModel",
    "Number",
    "Objective",
    "PretrainedModel",
    "PromptedRows",
    "TaskLook",
    "TaskModel",
    "TokenisedRows",
    "batches_by_length",
    "build_model",
    "card_header",
    "check_model",
    "check_settings",
    "check_sharding",
    "check_tasks",
    "data_warnings",
    "drop_last_member",
    "find_model",
    "fit_tasks",
    "gathered",
    "graphed",
    "import_peft",
    "in_turn",
    "is_language_model",
    "is_sharded",
    "kept_between_passes",
    "load_model",
    "load_tokenizer",
    "locate_model",
    "look_at_data",
    "most_examples",
    "objective_of",
    "place_model",
    "quiet_transformers",
    "read_manifest",
    "read_object",
    "read_temperature",
    "release",
    "save_model",
    "shard_model",
    "standalone",
    "write_calibration",
]
