"""Find out whether a model can take the tasks: by their kind, their prompts, and how long their texts are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sgg_ray.config import Config, Kind
from sgg_ray.errors import ModelError
from sgg_ray.models.backbone import Origin, find_model, load_tokenizer
from sgg_ray.models.build import LANGUAGE_MODELS
from sgg_ray.models.prompts import Prompter
from sgg_ray.tasks import Task, label_name_rows

SEGMENTS = 2  # that an encoder's tokenizer puts together
LOOKED_AT = 100  # rows of a task
MUCH_CUT = 0.25  # of its texts
HEADS_ONLY: tuple[Kind, ...] = ("regression", "multi_label")  # kinds that label words cannot say


def check_tasks(config: Config, tasks: Sequence[Task]) -> list[str]:
    """See whether every task can be put to the model: prompts and label words, or none of them for an encoder.

    Returns:
        A line for each task whose prompt leaves too little room for its texts, or whose labels' names say nothing.

    Raises:
        ModelError: with one line for each task that cannot.
    """
    origin = find_model(config.model.path)
    if origin.architecture.is_language_model:
        problems, notes = _look_at_prompts(config, origin, tasks)
    else:
        problems, notes = _look_at_heads(config, tasks)
    if problems:
        raise ModelError(problems)
    return notes


def _look_at_heads(config: Config, tasks: Sequence[Task]) -> tuple[list[str], list[str]]:
    """What keeps an encoder from taking the tasks, and what is to be said about them."""
    notes = []
    if config.train.head == "label_names":
        notes = [
            f"{task.name}: labels {', '.join(task.labels)} are no words, so train.head: label_names begins at zero; "
            "give them names with labels"
            for task in tasks
            if task.role == "target" and label_name_rows(task.labels) is None
        ]
    return [problem for task in tasks for problem in _not_for_heads(task, config.model.path)], notes


def _not_for_heads(task: Task, path: str) -> list[str]:
    """What keeps the encoder at ``path`` from taking the task."""
    if task.generates:
        return [
            f"{task.place}.kind: generation needs a language model, {path} is an encoder; "
            "give another model, or a task with labels"
        ]
    problems = []
    if len(task.fields) > SEGMENTS:
        problems.append(
            f"{task.place}.columns.text: an encoder takes a text or a pair, found "
            f"{', '.join(task.fields)}; name two columns, or give a language model with a prompt"
        )
    if task.kind == "multiple_choice":
        problems.append(
            f"{task.place}.kind: multiple_choice needs a language model, which says how likely a choice "
            f"is, {path} is an encoder; give another model"
        )
        return problems
    return problems + [
        f"{task.place}.{key}: {path} is an encoder with heads, which takes no {key}; "
        "leave it out, or give a language model"
        for key, value in (("prompt", task.prompt), ("verbalizers", task.words))
        if value is not None
    ]


def _look_at_prompts(config: Config, origin: Origin, tasks: Sequence[Task]) -> tuple[list[str], list[str]]:
    """What keeps a language model from taking the tasks, and what is to be said about them."""
    problems: list[str] = []
    notes: list[str] = []
    prompter = _prompter(config, origin, config.train.max_length)
    for task in tasks:
        if task.kind in HEADS_ONLY:
            problems.append(
                f"{task.place}.kind: {task.kind} needs an encoder, {config.model.path} is {origin.architecture.title}; "
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
    return problems, notes


def _instead(kind: Kind) -> str:
    """What a language model can do in place of a kind that needs a head."""
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
    if not origin.architecture.is_language_model:  # `check_tasks` says so
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
    model = LANGUAGE_MODELS[origin.architecture]
    return model.prompter_for(load_tokenizer(origin.location), config.model.chat, max_length)
