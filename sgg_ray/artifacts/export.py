"""A trained model as a folder that other libraries load, without sgg_ray."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from sgg_ray.artifacts.export_encoder import write_transformers
from sgg_ray.artifacts.export_language_model import write_language_model
from sgg_ray.artifacts.export_loading import Form, how_to_load, how_to_load_members
from sgg_ray.artifacts.finished_run import FinishedRun
from sgg_ray.bounded import refused_name
from sgg_ray.errors import ConfigError, ModelError, told_where
from sgg_ray.models import (
    MEMBER,
    AveragedModel,
    EncoderClassifier,
    LanguageModel,
    Number,
    TaskModel,
    import_peft,
    is_language_model,
    load_model,
    quiet_transformers,
    read_manifest,
    read_object,
    read_temperature,
)


def default_form(run: FinishedRun) -> Form:
    """sentence-transformers runs no code of the folder; it has no module for a model's own pooler, nor for averages."""
    if read_manifest(run.model).shares is not None:
        return "transformers"
    if _learns_prompts(run):
        return "adapter"
    prompted = is_language_model(run.model)
    return "transformers" if prompted or run.config.model.pooling == "own" else "sentence-transformers"


def export_model(run: FinishedRun, folder: str | Path, form: Form | None = None) -> Path:
    """Write the model of a run into a new folder, with a model card that says how to load it.

    Logits of ``transformers``, and of virtual tokens in PEFT, are those of the run bit for bit on the same token ids.
    ``sentence-transformers`` pads batches differently and has √H multiplied into the head's weights, and merging an
    adapter rounds: logits then differ by some 1e-6 of their size.

    Args:
        run: a finished training, of an encoder or of a language model.
        folder: where to; must be empty or not there.
        form: which library is to load it; None takes :func:`default_form`. ``adapter`` leaves an adapter apart from
            its base model, which virtual tokens (prompt and prefix tuning) need.

    Raises:
        ConfigError: the folder is in use.
        ModelError: the model cannot take that form.
    """
    folder = Path(folder)
    if refused := refused_name(folder):
        raise ConfigError(f"--to: cannot write to {folder} ({refused}); choose another name")
    if folder.is_symlink():
        raise ConfigError(f"--to: {folder} is a symbolic link; give a new folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--to: {folder} exists already; give a new or an empty folder")
    model, head = load_model(run.model, dequantise=True)
    form = form or default_form(run)
    for member in model.members if isinstance(model, AveragedModel) else [model]:
        if isinstance(member, EncoderClassifier):
            _check(member, form)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise ConfigError(
            f"--to: cannot write to {folder.parent} ({error.strerror}); choose another folder"
        ) from error
    try:
        with told_where(folder), quiet_transformers():
            loading = _write(run, model, head, part, folder.name, form)
            model.tokenizer.model_max_length = model.max_length
            model.tokenizer.save_pretrained(part)
            if not isinstance(model, LanguageModel):
                _split_special_tokens(part / "tokenizer_config.json")
            card = _card(run, loading)
            (part / "README.md").write_text(card, encoding="utf-8")
        os.chmod(part, 0o755)  # mkdtemp's own mode would hide the folder from a group
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


def _learns_prompts(run: FinishedRun) -> bool:
    """Whether the run's adapter is virtual tokens, which are no part of the weights and cannot be merged."""
    folder = run.model / "adapter"
    if not folder.is_dir():
        return False
    return import_peft().PeftConfig.from_pretrained(str(folder)).is_prompt_learning


def _check(model: EncoderClassifier, form: Form) -> None:
    adapters = getattr(model.backbone, "peft_config", {})
    if form == "adapter" and not adapters:
        raise ModelError("--form: the run trained the whole model and has no adapter; use another form")
    for adapter in adapters.values():
        if adapter.is_prompt_learning:
            if form != "adapter":
                raise ModelError(
                    f"--form: {str(adapter.peft_type.value).lower()} is no part of the weights and cannot be merged "
                    "into them; use 'adapter'"
                )
            return
    if form != "transformers" and model.pooling == "own":
        raise ModelError(
            "--form: the run pools with the model's own pooler; only 'transformers' can hold that"
        )


def _write_weights(
    run: FinishedRun, model: EncoderClassifier, head: str, folder: Path, form: Form
) -> str | None:
    """Write everything but tokenizer and card; return where the base of an adapter lies."""
    backbone: Any = model.backbone
    labels = dict(enumerate(model.labels[head]))
    if form == "adapter":
        shutil.copytree(run.model / "adapter", folder, dirs_exist_ok=True)
        (folder / "README.md").unlink(missing_ok=True)
        if _learns_prompts(run):
            weights = {
                name: value.detach().cpu().clone() for name, value in model.head(head).state_dict().items()
            }
            save_file(weights, folder / "head.safetensors", metadata={"format": "pt"})
        else:
            _write_modules(model, head, folder)
        return read_object(folder / "adapter_config.json")["base_model_name_or_path"]
    if form == "sentence-transformers":
        if hasattr(backbone, "peft_config"):
            backbone = backbone.merge_and_unload()
        backbone.config.id2label = labels
        backbone.config.label2id = {name: number for number, name in labels.items()}
        backbone.save_pretrained(folder)
        _write_modules(model, head, folder)
        return None
    write_transformers([model], None, head, model.labels[head], folder)
    return None


def _write_modules(model: EncoderClassifier, head: str, folder: Path) -> None:
    """Pooling, scaling and head in the format that every version of sentence-transformers reads."""
    linear = model.head(head)
    kinds = ("Transformer", "Pooling", "Normalize", "Dense")
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]
    pooling = {
        "word_embedding_dimension": model.width,
        "pooling_mode_mean_tokens": model.pooling == "mean",
        "pooling_mode_cls_token": model.pooling == "cls",
    }
    dense = {
        "in_features": model.width,
        "out_features": linear.out_features,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    _json(folder / "modules.json", modules)
    _json(folder / "sentence_bert_config.json", {"max_seq_length": model.max_length, "do_lower_case": False})
    _json(folder / "1_Pooling" / "config.json", pooling)
    (folder / "2_Normalize").mkdir()
    _json(folder / "3_Dense" / "config.json", dense)
    weights = {
        "linear.weight": linear.weight.detach().cpu() * model.width**0.5,
        "linear.bias": linear.bias.detach().cpu().clone(),
    }
    save_file(weights, folder / "3_Dense" / "model.safetensors", metadata={"format": "pt"})


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _split_special_tokens(path: Path) -> None:
    """Let the exported tokenizer take [SEP] in a text for characters; save_pretrained does not write that down."""
    _json(path, json.loads(path.read_text(encoding="utf-8")) | {"split_special_tokens": True})


def _write(run: FinishedRun, model: TaskModel, head: str, folder: Path, name: str, form: Form) -> str:
    """Write everything but tokenizer and card; return how to load it."""
    if isinstance(model, LanguageModel):
        return write_language_model(run, model, head, folder, name, form)  # pyright: ignore[reportArgumentType]
    if isinstance(model, AveragedModel):
        return _write_average(run, model, head, folder, name, form)
    assert isinstance(model, EncoderClassifier)
    _fold_scale(model, head)
    base = _write_weights(run, model, head, folder, form)
    return how_to_load(run, model, head, name, form, base, prompts=_learns_prompts(run))


def _fold_scale(model: EncoderClassifier, head: str) -> None:
    """Let the head of kind regression say the numbers as they are, and not standardised ones."""
    scale, layer = model.objective(head), model.head(head)
    if isinstance(scale, Number):
        layer.weight.data.mul_(scale.spread)
        layer.bias.data.mul_(scale.spread).add_(scale.centre)


def _write_average(
    run: FinishedRun, model: AveragedModel, head: str, folder: Path, name: str, form: Form
) -> str:
    """One Transformers model of all members, or a folder for each of them; return how to load it."""
    members = [member for member in model.members if isinstance(member, EncoderClassifier)]
    for member in members:
        _fold_scale(member, head)
    if form == "transformers":
        write_transformers(members, model.shares, head, members[0].labels[head], folder)
        return how_to_load(run, members[0], head, name, form)
    for number, member in enumerate(members):
        place = folder / MEMBER.format(number)
        place.mkdir()
        _write_weights(run, member, head, place, form)
        member.tokenizer.model_max_length = member.max_length
        member.tokenizer.save_pretrained(place)
        _split_special_tokens(place / "tokenizer_config.json")
    return how_to_load_members(run, members[0], head, name, model.shares)


def _card(run: FinishedRun, loading: str) -> str:
    """The card of the run's model with another way to load it."""
    try:
        text = (run.model / "README.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        text = f"# {run.config.name}\n"
    text = text.split("## How to load it")[0].rstrip()
    temperature = read_temperature(run.model)
    calibrated = (
        f"\nFor calibrated probabilities divide the logits by the temperature {temperature:.4g} first.\n"
        if temperature
        else ""
    )
    return f"{text}\n\n## How to load it\n\n{loading}{calibrated}"
