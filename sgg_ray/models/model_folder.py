"""Write a trained task model as a folder, and load it again, without the run that made it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sgg_ray.config import TEXT
from sgg_ray.errors import ModelError
from sgg_ray.models.averaged import AveragedModel
from sgg_ray.models.backbone import (
    dtype_of,
    find_model,
    load_backbone,
    load_tokenizer,
    refused,
)
from sgg_ray.models.build import LANGUAGE_MODELS
from sgg_ray.models.classifier import EncoderClassifier
from sgg_ray.models.language_model import LanguageModel
from sgg_ray.models.manifest import (
    Manifest,
    Quantised,
    ShownRows,
    SpokenLabels,
    check_files,
    checksums,
    read_manifest,
    write_manifest,
)
from sgg_ray.models.model_files import read_object
from sgg_ray.models.objectives import Independent, Number, objective_of
from sgg_ray.models.quantised import import_peft
from sgg_ray.models.task_model import TaskModel
from sgg_ray.models.transformers_output import quiet_transformers
from sgg_ray.tasks import Rows, kind_of, parts_of

HEADS = "heads.safetensors"
BACKBONE = "backbone"
ADAPTER = "adapter"
BASE = "base"  # what the adapter was put on, in a model for other machines
MEMBER = "member-{}"  # folder of one model of an average


def save_model(
    model: TaskModel, folder: Path, *, base: str, target_head: str, fields: Sequence[str] = (TEXT,)
) -> None:
    """Write backbone or adapter, tokenizer, heads and a manifest into ``folder``.

    Args:
        base: the model that was adapted, as given in the configuration; an adapter is loaded on top of it.
        target_head: the key of the target's labels.
        fields: what the parts of the target's texts are called.
    """
    if isinstance(model, AveragedModel):
        _save_average(model, folder, base, target_head, fields)
        return
    adapted = hasattr(model.backbone, "peft_config")
    with quiet_transformers():
        model.backbone.save_pretrained(str(folder / (ADAPTER if adapted else BACKBONE)))  # pyright: ignore[reportCallIssue]
    _save_tokenizer(model.tokenizer, folder / BACKBONE)
    spoken = pooling = quantised = None
    if isinstance(model, LanguageModel):
        if model.quantization is not None:
            quantised = Quantised(scheme=model.quantization, precision=model.precision)  # pyright: ignore[reportArgumentType]
        prompt, words = model.prompts[target_head]
        spoken = SpokenLabels(
            prompt=prompt,
            words=None if words is None else list(words),
            chat=model.prompter.chat,
            length_normalised=model.length_normalised,
            max_new_tokens=model.max_new_tokens,
            offsets={key: offset.tolist() for key, offset in model.offsets.items()},
            example_length=model.example_length,
            shown=_shown(model.shots.get(target_head)),
        )
    elif isinstance(model, EncoderClassifier):
        pooling = model.pooling
        heads = {name: value.contiguous() for name, value in model.heads.state_dict().items()}
        save_file(heads, folder / HEADS)
    write_manifest(
        folder,
        Manifest(
            base=base,
            adapted=adapted,
            max_length=model.max_length,
            target_head=target_head,
            heads={key: list(names) for key, names in model.labels.items()},
            fields=list(fields),
            files=checksums(folder),
            pooling=pooling,  # pyright: ignore[reportArgumentType]
            language_model=spoken,
            quantised=quantised,
            at_least_one=isinstance(own := model.objective(target_head), Independent) and own.at_least_one,
            scales={
                key: (own.centre, own.spread)
                for key, own in model.objectives.items()
                if isinstance(own, Number)
            },
        ),
    )


def _shown(shots: Rows | None) -> ShownRows | None:
    """Labelled rows as the manifest holds them."""
    if shots is None:
        return None
    return ShownRows(texts=[list(parts_of(text)) for text in shots.texts], labels=shots.labels.tolist())


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Without what its last call has left in it, so that the file is the same after whatever call."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # of a fast tokenizer; each call sets both anew
        backend.no_truncation()
        backend.no_padding()
    tokenizer.save_pretrained(str(folder))


def _save_average(
    model: AveragedModel, folder: Path, base: str, target_head: str, fields: Sequence[str]
) -> None:
    """Each member in a folder of its own, as if it were alone, and a manifest above them."""
    for number, member in enumerate(model.members):
        assert isinstance(member, EncoderClassifier)
        place = folder / MEMBER.format(number)
        place.mkdir()
        save_model(member, place, base=base, target_head=target_head, fields=fields)
    first = read_manifest(folder / MEMBER.format(0))
    content = {"files": checksums(folder), "shares": list(model.shares)}
    write_manifest(folder, first.model_copy(update=content))


def load_model(
    folder: Path, device: torch.device | str = "cpu", dequantise: bool = False
) -> tuple[TaskModel, str]:
    """Load what :func:`save_model` wrote; return the model in evaluation mode and the key of the target's labels.

    Args:
        folder: with the manifest.
        device: where weights are quantised, if they were, and stay. All others are on the CPU.
        dequantise: give such weights the values that they stand for, so that an adapter can be merged into them.

    Raises:
        ModelError: the folder does not hold such a model, or this machine cannot quantise weights.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if manifest.shares is not None:
        return _load_average(folder, manifest.shares), manifest.target_head
    with refused(f"{folder}: no model that sgg wrote", "give the folder 'model' of a run"):
        return _load(folder, manifest, device, dequantise).eval(), manifest.target_head


def _load_average(folder: Path, shares: list[float]) -> AveragedModel:
    members = []
    for number in range(len(shares)):
        member, _ = load_model(folder / MEMBER.format(number))
        if not isinstance(member, EncoderClassifier):
            raise ModelError(f"{folder}: a member of an average must be an encoder; train anew")
        members.append(member)
    return AveragedModel(members, shares)


def _load(folder: Path, manifest: Manifest, device: torch.device | str, dequantise: bool) -> TaskModel:
    spoken, pooling = manifest.language_model, manifest.pooling or "mean"
    labels = {key: tuple(names) for key, names in manifest.heads.items()}
    beside = folder / BASE
    base = str(beside) if beside.is_dir() else manifest.base
    origin = find_model(base if manifest.adapted else str(folder / BACKBONE))
    if origin.architecture.is_language_model != (spoken is not None):
        raise ModelError(
            f"{folder}: its model is {origin.architecture.title}, another than was trained; train anew"
        )
    quantised = manifest.quantised
    backbone: Any = load_backbone(
        origin,
        pooling,
        dtype_of(quantised.precision if quantised else "float32"),
        quantised and quantised.scheme,
        device if quantised else "cpu",
    )
    if quantised and dequantise:
        backbone = backbone.dequantize()
    if manifest.adapted:
        backbone = _with_adapter(backbone, folder / ADAPTER)
    tokenizer = load_tokenizer(str(folder / BACKBONE))
    if spoken is None:
        encoder = EncoderClassifier(
            backbone,
            tokenizer,
            labels,
            pooling=pooling,
            max_length=manifest.max_length,
            objectives={
                key: objective_of(kind_of(key), scale=manifest.scales.get(key)) for key in manifest.heads
            },
        )
        encoder.heads.load_state_dict(load_file(folder / HEADS))
        return encoder
    words = None if spoken.words is None else tuple(spoken.words)
    model = LANGUAGE_MODELS[origin.architecture](
        backbone,
        tokenizer,
        labels,
        {manifest.target_head: (spoken.prompt, words)},
        chat=spoken.chat,
        length_normalised=spoken.length_normalised,
        max_length=manifest.max_length,
        max_new_tokens=spoken.max_new_tokens,
        precision=quantised.precision if quantised else "float32",
        quantization=quantised and quantised.scheme,
        example_length=spoken.example_length,
    )
    if spoken.shown is not None:
        texts = tuple(parts[0] if len(parts) == 1 else tuple(parts) for parts in spoken.shown.texts)
        model.shots[manifest.target_head] = Rows(texts, np.array(spoken.shown.labels, dtype=np.int64))
    model.offsets = {key: torch.tensor(offset) for key, offset in spoken.offsets.items()}
    return model


def _with_adapter(base: nn.Module, folder: Path) -> nn.Module:
    """The base model with the adapter in ``folder`` put on it.

    Raises:
        ModelError: its settings are torn, or name a module to import; its weights are no safetensors.
    """
    peft = import_peft()
    settings = read_object(folder / "adapter_config.json")
    if settings.get("peft_type") not in {str(kind.value) for kind in peft.PEFT_TYPE_TO_CONFIG_MAPPING}:
        raise ModelError(f"{folder}: PEFT has no method {settings.get('peft_type')!r}; train anew")
    if settings.get("megatron_config") is not None:  # PEFT 0.21 imports whatever module `megatron_core` names
        raise ModelError(f"{folder}: adapters for Megatron are not loaded; train anew")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{folder}: has no adapter_model.safetensors, and nothing else is read; train anew")
    return peft.PeftModel.from_pretrained(base, str(folder))  # pyright: ignore[reportArgumentType]


def is_language_model(folder: Path) -> bool:
    """Whether what :func:`save_model` wrote is a language model."""
    return read_manifest(folder).language_model is not None


def read_temperature(folder: Path) -> float | None:
    """The temperature that a model's probabilities were calibrated to; None if they were not."""
    return read_manifest(folder).temperature


def write_calibration(folder: Path, found: Mapping[str, Any]) -> None:
    """Keep ``temperature`` or ``threshold`` beside the model that :func:`save_model` wrote; other keys are left."""
    kept = {name: found[name] for name in ("temperature", "threshold") if name in found}
    write_manifest(folder, read_manifest(folder).model_copy(update=kept))
