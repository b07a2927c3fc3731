"""Write a trained task model as a folder, and load it again, without the run that made it."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.models.backbone import (
    build_backbone,
    load_backbone,
    load_tokenizer,
    prepare_backbone,
    quiet_transformers,
)
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.models.foundation import Foundation
from sgg_ray.models.locate import locate_model
from sgg_ray.tasks import Task

MODEL_MANIFEST = "sgg_model.json"
HEADS = "heads.safetensors"
BACKBONE = "backbone"
ADAPTER = "adapter"
MANIFEST_KEYS = ("base", "adapted", "pooling", "max_length", "target_head", "heads")


def build_model(config: Config, tasks: list[Task], foundation: Foundation | None = None) -> EncoderClassifier:
    """The model that ``config`` describes, with one head for each label set among ``tasks``.

    Heads come in the order of ``tasks``, so every process builds the same parameters in the same order.
    Adapters draw their initial weights from ``config.seed``.

    Args:
        foundation: the pre-trained model, if it is loaded already; a copy of it is used.
    """
    torch.manual_seed(config.seed)
    if foundation is None:
        backbone, tokenizer = build_backbone(config.model)
        known = None
    else:
        backbone, tokenizer = prepare_backbone(foundation.copy(), config.model), foundation.tokenizer
        known = foundation.known_ids(config.train.max_length)
    return EncoderClassifier(
        backbone,
        tokenizer,
        {task.head: task.labels for task in tasks},
        pooling=config.model.pooling,
        max_length=config.train.max_length,
        precision=config.model.precision,
        known_ids=known,
    )


def save_model(model: EncoderClassifier, folder: Path, *, base: str, target_head: str) -> None:
    """Write backbone or adapter, tokenizer, heads and a manifest into ``folder``.

    Args:
        base: the model that was adapted, as given in the configuration; an adapter is loaded on top of it.
        target_head: the head that predicts the target's labels.
    """
    adapted = hasattr(model.backbone, "peft_config")
    with quiet_transformers():
        model.backbone.save_pretrained(str(folder / (ADAPTER if adapted else BACKBONE)))  # pyright: ignore[reportCallIssue]
    model.tokenizer.save_pretrained(str(folder / BACKBONE))
    save_file({name: value.contiguous() for name, value in model.heads.state_dict().items()}, folder / HEADS)
    manifest = {
        "base": base,
        "adapted": adapted,
        "pooling": model.pooling,
        "max_length": model.max_length,
        "target_head": target_head,
        "heads": model.labels,
    }
    (folder / MODEL_MANIFEST).write_text(
        json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def load_model(folder: Path) -> tuple[EncoderClassifier, str]:
    """Load what :func:`save_model` wrote; return the model in evaluation mode and the target's head key.

    Raises:
        ModelError: the folder does not hold such a model.
    """
    try:
        manifest = json.loads((folder / MODEL_MANIFEST).read_text(encoding="utf-8"))
        missing = [key for key in MANIFEST_KEYS if key not in manifest]
        if missing:
            raise ValueError(f"{MODEL_MANIFEST} lacks {', '.join(missing)}")
        heads = load_file(folder / HEADS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: no model that sgg wrote ({error}); give the folder 'model' of a run"
        ) from error
    if manifest["adapted"]:
        import peft

        base = load_backbone(locate_model(manifest["base"]), manifest["pooling"])
        backbone = peft.PeftModel.from_pretrained(base, str(folder / ADAPTER))  # pyright: ignore[reportArgumentType]
    else:
        backbone = load_backbone(str(folder / BACKBONE), manifest["pooling"])
    model = EncoderClassifier(
        backbone,
        load_tokenizer(str(folder / BACKBONE)),
        manifest["heads"],
        pooling=manifest["pooling"],
        max_length=manifest["max_length"],
    )
    model.heads.load_state_dict(heads)
    return model.eval(), manifest["target_head"]


def read_temperature(folder: Path) -> float | None:
    """The temperature that a model's probabilities were calibrated to; None if they were not."""
    return json.loads((folder / MODEL_MANIFEST).read_text(encoding="utf-8")).get("temperature")


def write_temperature(folder: Path, temperature: float) -> None:
    """Keep the temperature beside the model that :func:`save_model` wrote."""
    path = folder / MODEL_MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8")) | {"temperature": temperature}
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
