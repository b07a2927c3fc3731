"""Find out from a model's files alone whether it can be used as configured, before anything starts."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sgg_ray.config import Config, Kind, ModelConfig
from sgg_ray.errors import ModelError
from sgg_ray.models.backbone import (
    Origin,
    adapter_config,
    add_adapter,
    choose_pooler,
    find_model,
    load_tokenizer,
)
from sgg_ray.models.language_model import uses_chat
from sgg_ray.models.prompts import Prompter
from sgg_ray.models.sharding import check_sharding
from sgg_ray.models.transformers_output import first_line, refused
from sgg_ray.tasks import Task, label_name_rows

SEGMENTS = 2  # that an encoder's tokenizer puts together
LOOKED_AT = 100  # rows of a task
SPARE_PARAMETERS = 50_000_000  # that may be missing in the weights, such as a pooler's
MUCH_CUT = 0.25  # of its texts
HEADS_ONLY: tuple[Kind, ...] = ("regression", "multi_label")  # kinds that label words cannot say


def check_model(config: ModelConfig, max_length: int, max_new_tokens: int = 0) -> None:
    """Look at model, tokenizer, weights and adapter without loading the weights.

    Pooling and adapter are tried on the architecture without its weights (PyTorch's meta device), so that a
    module that is not there, or a rank of 0, is found here and not in the workers.

    Args:
        config: the section ``model``.
        max_length: tokens that the model has to take.
        max_new_tokens: that it has to say behind these.

    Raises:
        ModelError: the model cannot be used as configured.
    """
    origin = find_model(config.path)
    load_tokenizer(origin.location)
    stored = _check_weights(origin.location, config.path)
    if origin.causal and config.trainable == "heads":
        raise ModelError(
            "model.trainable: a causal language model has no heads; use biases, all or an adapter"
        )
    skeleton = _skeleton(origin, config.path)
    _check_size(skeleton, stored, config.path)
    if not origin.causal:
        choose_pooler(skeleton, origin.location, config.pooling)
    virtual = 0
    if config.adapter is not None:
        options = config.adapter.model_dump()
        virtual = getattr(adapter_config(options, origin.causal), "num_virtual_tokens", None) or 0
        # Some initialisations compute with the weights and cannot be tried without them.
        with suppress(NotImplementedError, RuntimeError):
            add_adapter(skeleton, options, origin.causal)
    positions = _positions(skeleton)
    if positions is not None and max_length + virtual + max_new_tokens > positions:
        taken = [f"the adapter's {virtual} virtual tokens"] if virtual else []
        taken += [f"the {max_new_tokens} of train.max_new_tokens"] if max_new_tokens else []
        beside = f" beside {' and '.join(taken)}" if taken else ""
        raise ModelError(
            f"train.max_length: {config.path} takes at most {positions - virtual - max_new_tokens} tokens{beside}, "
            f"found {max_length}; lower it"
        )


def check_method(config: Config) -> None:
    """See whether the way of training is one for this kind of model.

    Raises:
        ModelError: it is one for the other kind.
    """
    train, causal = config.train, find_model(config.model.path).causal
    check_sharding(config, causal)
    for key, value, needed in (
        ("method", train.method, {"setfit": False, "zero_shot": True, "in_context": True}.get(train.method)),
        ("head", train.head, False if train.head != "zero" else None),
    ):
        if needed is not None and needed != causal:
            kind = "a causal language model" if needed else "an encoder"
            raise ModelError(
                f"train.{key}: {value} needs {kind}, which {config.model.path} is not; leave it out or give another "
                "model"
            )


def check_tasks(config: Config, tasks: Sequence[Task]) -> list[str]:
    """See whether every task can be put to the model: prompts and label words, or none of them for an encoder.

    Returns:
        A line for each task whose prompt leaves too little room for its texts, or whose labels' names say nothing.

    Raises:
        ModelError: with one line for each task that cannot.
    """
    origin = find_model(config.model.path)
    problems: list[str] = []
    notes: list[str] = []
    if not origin.causal:
        if config.train.head == "label_names":
            notes += [
                f"{task.name}: labels {', '.join(task.labels)} are no words, so train.head: label_names begins at "
                f"zero; give "
                "them names with labels"
                for task in tasks
                if task.role == "target" and label_name_rows(task.labels) is None
            ]
        for task in tasks:
            if task.generates:
                problems.append(
                    f"{task.place}.kind: generation needs a causal language model, {config.model.path} is an encoder; "
                    "give another model, or a task with labels"
                )
                continue
            if len(task.fields) > SEGMENTS:
                problems.append(
                    f"{task.place}.columns.text: an encoder takes a text or a pair, found "
                    f"{', '.join(task.fields)}; name two columns, or give a causal language model with a prompt"
                )
            if task.kind == "multiple_choice":
                problems.append(
                    f"{task.place}.kind: multiple_choice needs a causal language model, which says how likely a choice "
                    f"is, {config.model.path} is an encoder; give another model"
                )
                continue
            for key, value in (("prompt", task.prompt), ("verbalizers", task.words)):
                if value is not None:
                    problems.append(
                        f"{task.place}.{key}: {config.model.path} is an encoder with heads, which takes no {key}; "
                        "leave it out, or give a causal language model"
                    )
    else:
        prompter = _prompter(config, origin, config.train.max_length)
        for task in tasks:
            if task.kind in HEADS_ONLY:
                problems.append(
                    f"{task.place}.kind: {task.kind} needs an encoder, {config.model.path} is a causal language model; "
                    f"give an encoder, {_instead(task.kind)}"
                )
                continue
            try:
                share = prompter.cut(task, task.train.take(np.arange(min(LOOKED_AT, len(task.train)))))
            except ModelError as error:
                problems += error.problems
                continue
            if share > MUCH_CUT:
                notes.append(
                    f"{task.name}: {share:.0%} of the texts are cut to fit into train.max_length beside the prompt"
                )
    if problems:
        raise ModelError(problems)
    return notes


def _instead(kind: Kind) -> str:
    """What a causal language model can do in place of a kind that needs a head."""
    if kind == "regression":
        return "or kind: ordinal for numbers of a few steps"
    return "or a task for each label, of kind classification"


def fit_tasks(
    config: Config, tasks: Sequence[Task], max_length: int | None = None
) -> tuple[list[Task], list[str]]:
    """Leave out rows whose completion does not fit beside its prompt: completions are never cut.

    A shot of the target that does not fit is an error, since it was chosen to be learnt from; rows of sources, and of
    the test, are dropped and counted.

    Args:
        max_length: tokens of prompt and completion; None takes ``train.max_length``.

    Returns:
        The tasks, and a line for each that has lost rows or has answers longer than the model will give.

    Raises:
        ModelError: with one line for each task that cannot be put to the model.
    """
    if not any(task.generates for task in tasks):
        return list(tasks), []
    origin = find_model(config.model.path)
    if not origin.causal:  # `check_tasks` says so
        return list(tasks), []
    prompter = _prompter(config, origin, max_length or config.train.max_length)
    if prompter.tokenizer.eos_token_id is None:
        raise ModelError(
            f"model.path: the tokenizer of {config.model.path} has no token that ends a text, which kind generation "
            "needs; set tokenizer.eos_token"
        )
    fitted: list[Task] = []
    notes: list[str] = []
    problems: list[str] = []
    for task in tasks:
        try:
            kept, told = _fitted(task, prompter) if task.generates else (task, [])
        except ModelError as error:
            problems += error.problems
            continue
        fitted.append(kept)
        notes += told
        if task.role == "target" and task.generates:
            notes += _long_answers(kept, prompter, config.train.max_new_tokens)
    if problems:
        raise ModelError(list(dict.fromkeys(problems)))  # what is the template's fault is that of every task
    return fitted, notes


def _fitted(task: Task, prompter: Prompter) -> tuple[Task, list[str]]:
    """The task with the rows that fit, and what was left out."""
    notes = []
    kept = {}
    for part, rows in (("train", task.train), ("test", task.test)):
        needed = prompter.needed(task, rows) if len(rows) else np.zeros(0, dtype=np.int64)
        fits = needed <= prompter.max_length
        kept[part] = rows.take(np.flatnonzero(fits))
        if fits.all():
            continue
        few = len(needed) - int(fits.sum())
        if (part == "train" and task.role == "target") or not fits.any():
            what = "shots" if part == "train" and task.role == "target" else f"{part} rows"
            raise ModelError(
                f"train.max_length: {few} of the {len(needed)} {what} of {task.place} need up to {needed.max()} tokens "
                f"for prompt and completion, which is never cut, found {prompter.max_length}; raise it"
            )
        of_test = "test " if part == "test" else ""
        notes.append(
            f"{task.name}: {few:,} {of_test}row{'s' * (few > 1)} dropped: the completion does not fit into "
            "train.max_length beside its prompt"
        )
    return replace(task, **kept), notes


def _long_answers(task: Task, prompter: Prompter, most: int) -> list[str]:
    """Whether answers of the test are longer than what the model may say."""
    longer = sum(len(ids) > most for ids in prompter.completions(task, task.test))
    if not longer:
        return []
    return [
        f"{task.name}: {longer:,} of {len(task.test):,} test answers are longer than train.max_new_tokens {most}"
    ]


def _prompter(config: Config, origin: Origin, max_length: int) -> Prompter:
    tokenizer = load_tokenizer(origin.location)
    return Prompter(tokenizer, uses_chat(tokenizer, config.model.chat), max_length)


def _check_weights(location: str, path: str) -> int | None:
    """Read the heads of the weight files, which tell a torn file too. Weights on a hub are not looked at.

    Returns:
        Bytes of the weights; None for those on a hub.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(location)
    if not folder.is_dir():
        return None
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"model.path: {path} has no .safetensors weights, and nothing else is read; "
            "convert them once with model.save_pretrained"
        )
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"model.path: {file} is no readable safetensors file ({first_line(error)}); fetch it again"
            ) from error
    return sum(file.stat().st_size for file in files)


def _skeleton(origin: Origin, path: str) -> nn.Module:
    """The architecture with shapes and no values."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    kind = AutoModelForCausalLM if origin.causal else AutoModel
    with (
        refused(f"model.path: {path}/config.json describes no model", "fetch it again"),
        torch.device("meta"),
    ):
        config = AutoConfig.from_pretrained(origin.location, trust_remote_code=False)
        return kind.from_config(config, trust_remote_code=False)


def _check_size(skeleton: Any, stored: int | None, path: str) -> None:
    """Weights that are not in the files would be made up, in memory that the machine may not have."""
    if stored is None or getattr(skeleton.config, "quantization_config", None) is not None:
        return
    described = sum(parameter.numel() for parameter in skeleton.parameters())
    if described > stored + SPARE_PARAMETERS:
        raise ModelError(
            f"model.path: {path}/config.json describes {described:,} parameters, the weights have {stored:,} bytes; "
            "fetch both again"
        )


def _positions(backbone: nn.Module) -> int | None:
    """How many tokens a learned table of positions allows; None without such a table (relative, rotary)."""
    for name, module in backbone.named_modules():
        if name.endswith(("position_embeddings", ".wpe")) and isinstance(module, nn.Embedding):
            # RoBERTa counts positions from behind the padding's.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None
