"""Write a trained task model as a folder, and load it again, without the run that made it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sgg_ray.config import Config
from sgg_ray.errors import ModelError
from sgg_ray.models.backbone import Origin, load_backbone, load_tokenizer, prepare_backbone
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.models.language_model import LanguageModel
from sgg_ray.models.locate import locate_model
from sgg_ray.models.pretrained_model import PretrainedModel
from sgg_ray.models.task_model import TaskModel
from sgg_ray.models.transformers_output import quiet_transformers
from sgg_ray.tasks import Task

MODEL_MANIFEST = "sgg_model.json"
HEADS = "heads.safetensors"
BACKBONE = "backbone"
ADAPTER = "adapter"
MANIFEST_KEYS = ("base", "adapted", "max_length", "target_head", "heads")


def build_model(config: Config, tasks: list[Task], foundation: PretrainedModel | None = None) -> TaskModel:
    """The model that ``config`` describes: of an encoder, with one head for each label set among ``tasks``.

    With ``train.share_labels``, label sets within that of the first task, the target, have no head of their own.
    Heads come in the order of ``tasks``, so every process builds the same parameters in the same order.
    Adapters draw their initial weights from ``config.seed``.

    Args:
        foundation: the pre-trained model, if it is loaded already; a copy of it is used.
    """
    torch.manual_seed(config.seed)
    foundation, shared = foundation or PretrainedModel(config.model), foundation is not None
    backbone = prepare_backbone(
        foundation.copy() if shared else foundation.backbone, config.model, foundation.causal
    )
    labels = {task.head: task.labels for task in tasks}
    common = {"max_length": config.train.max_length, "precision": config.model.precision}
    if foundation.causal:
        return LanguageModel(
            backbone,
            foundation.tokenizer,
            labels,
            {task.head: (task.prompt, task.words) for task in reversed(tasks)},
            chat=config.model.chat,
            length_normalised=config.model.length_normalised,
            max_new_tokens=config.train.max_new_tokens,
            **common,
        )
    known = foundation.known_ids(config.train.max_length) if shared else None
    target = set(tasks[0].labels)
    parts = {key: names for key, names in labels.items() if config.train.share_labels and set(names) < target}
    heads = {key: names for key, names in labels.items() if key not in parts}
    return EncoderClassifier(
        backbone,
        foundation.tokenizer,
        heads,
        pooling=config.model.pooling,
        known_ids=known,
        parts=parts,
        **common,
    )


def save_model(model: TaskModel, folder: Path, *, base: str, target_head: str) -> None:
    """Write backbone or adapter, tokenizer, heads and a manifest into ``folder``.

    Args:
        base: the model that was adapted, as given in the configuration; an adapter is loaded on top of it.
        target_head: the key of the target's labels.
    """
    adapted = hasattr(model.backbone, "peft_config")
    with quiet_transformers():
        model.backbone.save_pretrained(str(folder / (ADAPTER if adapted else BACKBONE)))  # pyright: ignore[reportCallIssue]
    model.tokenizer.save_pretrained(str(folder / BACKBONE))
    manifest: dict[str, Any] = {
        "base": base,
        "adapted": adapted,
        "max_length": model.max_length,
        "target_head": target_head,
        "heads": model.labels,
    }
    if isinstance(model, LanguageModel):
        prompt, words = model.prompts[target_head]
        manifest["language_model"] = {
            "prompt": prompt,
            "words": words,
            "chat": model.prompter.chat,
            "length_normalised": model.length_normalised,
            "max_new_tokens": model.max_new_tokens,
            "offsets": {key: offset.tolist() for key, offset in model.offsets.items()},
        }
    elif isinstance(model, EncoderClassifier):
        manifest["pooling"] = model.pooling
        heads = {name: value.contiguous() for name, value in model.heads.state_dict().items()}
        save_file(heads, folder / HEADS)
    (folder / MODEL_MANIFEST).write_text(
        json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def load_model(folder: Path) -> tuple[TaskModel, str]:
    """Load what :func:`save_model` wrote; return the model in evaluation mode and the key of the target's labels.

    Raises:
        ModelError: the folder does not hold such a model.
    """
    try:
        manifest = json.loads((folder / MODEL_MANIFEST).read_text(encoding="utf-8"))
        spoken = manifest.get("language_model")
        keys = MANIFEST_KEYS if spoken else (*MANIFEST_KEYS, "pooling")
        missing = [key for key in keys if key not in manifest]
        if missing:
            raise ValueError(f"{MODEL_MANIFEST} lacks {', '.join(missing)}")
        heads = {} if spoken else load_file(folder / HEADS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: no model that sgg wrote ({error}); give the folder 'model' of a run"
        ) from error
    pooling = manifest.get("pooling", "mean")
    if manifest["adapted"]:
        import peft

        origin = Origin(locate_model(manifest["base"]), spoken is not None)
        base = load_backbone(origin, pooling)
        backbone = peft.PeftModel.from_pretrained(base, str(folder / ADAPTER))  # pyright: ignore[reportArgumentType]
    else:
        backbone = load_backbone(Origin(str(folder / BACKBONE), spoken is not None), pooling)
    tokenizer = load_tokenizer(str(folder / BACKBONE))
    labels, head = manifest["heads"], manifest["target_head"]
    if spoken:
        words = spoken["words"]
        model: TaskModel = LanguageModel(
            backbone,
            tokenizer,
            labels,
            {head: (spoken["prompt"], None if words is None else tuple(words))},
            chat=spoken["chat"],
            length_normalised=spoken["length_normalised"],
            max_length=manifest["max_length"],
            max_new_tokens=spoken.get("max_new_tokens", 64),
        )
        model.offsets = {key: torch.tensor(offset) for key, offset in spoken["offsets"].items()}
    else:
        model = EncoderClassifier(
            backbone, tokenizer, labels, pooling=pooling, max_length=manifest["max_length"]
        )
        model.heads.load_state_dict(heads)
    return model.eval(), head


def is_language_model(folder: Path) -> bool:
    """Whether what :func:`save_model` wrote is a causal language model."""
    return "language_model" in json.loads((folder / MODEL_MANIFEST).read_text(encoding="utf-8"))


def read_temperature(folder: Path) -> float | None:
    """The temperature that a model's probabilities were calibrated to; None if they were not."""
    return json.loads((folder / MODEL_MANIFEST).read_text(encoding="utf-8")).get("temperature")


def write_temperature(folder: Path, temperature: float) -> None:
    """Keep the temperature beside the model that :func:`save_model` wrote."""
    path = folder / MODEL_MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8")) | {"temperature": temperature}
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
