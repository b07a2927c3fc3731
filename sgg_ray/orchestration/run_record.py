"""What MLflow is told of a run: the settings that count, where its code and rows come from, and digests of the rows."""

import getpass
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from sgg_ray.artifacts import git_state
from sgg_ray.config import Config
from sgg_ray.secrets import redacted
from sgg_ray.tasks import FIELD_END, Rows, Task, parts_of
from sgg_ray.tracking import TrackedDataset

SECTIONS_OF_OTHERS = ("compare", "tune")  # what only the command of that name reads
# Of `train`, what a scoring reads.
SCORED_WITH = ("train.max_length", "train.share_labels", "train.head")
OF_LABELS = ("columns.text", "columns.label", "labels", "flip_labels", "verbalizers")
OF_COMPLETIONS = ("columns.prompt", "columns.completion", "columns.messages", "shuffle_completions")


def tracked_parameters(config: Config, command: str) -> dict[str, Any]:
    """The settings by dotted key that this command reads: no unset ones, none of other commands, kinds or methods."""
    unused = tuple(_unused(config, command))
    return {
        key: value
        for key, value in config.flat().items()
        if value is not None
        and value not in ([], {}, "")
        and not any(key == name or key.startswith(f"{name}.") for name in unused)
        and not (command == "score" and key.startswith("train.") and key not in SCORED_WITH)
    }


def _unused(config: Config, command: str) -> Iterator[str]:
    """Keys, and sections, that have no say in what the command does."""
    yield "tracking"  # where this is written
    yield from (section for section in SECTIONS_OF_OTHERS if section != command)
    if command == "score":
        yield "guidance"
    places = [("target", config.target), *((f"sources.{source.name}", source) for source in config.sources)]
    for place, task in places:
        others = OF_COMPLETIONS if task.kind != "generation" else OF_LABELS
        yield from (f"{place}.{key}" for key in others)
        if not task.path.startswith("hf://"):
            yield f"{place}.split"
    if command == "compare":
        return  # strategies have methods of their own
    if config.train.method != "auto":
        yield "train.budget"
    if config.target.kind != "generation":
        yield "train.max_new_tokens"
    if config.train.method != "in_context" and not config.train.context_examples:
        yield "train.context_length"


def tracked_tags(config: Config, command: str, location: str) -> dict[str, str]:
    """What MLflow shows beside the parameters: command, user, commit."""
    found = {
        "sgg.command": command,
        "sgg.target": config.target.name,
        "sgg.folder": location,
        "mlflow.source.name": f"sgg {command}",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    state = git_state()
    if state is not None:
        found["mlflow.source.git.commit"] = state["commit"]
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def tracked_datasets(config: Config, tasks: Sequence[Task]) -> list[TrackedDataset]:
    """The rows of every task as MLflow's data sets; of the target those for training and those for testing."""
    paths = {entry.name: entry.path for entry in (config.target, *config.sources)}
    return [
        dataset
        for task in tasks
        for context, rows in _uses(task)
        if len(rows) and (dataset := _dataset(task, rows, context, paths.get(task.name, "")))
    ]


def evaluation_dataset(config: Config, target: Task) -> TrackedDataset:
    """The rows that the target's numbers are of."""
    return _dataset(target, target.test, "test", config.target.path)


def _uses(task: Task) -> Iterator[tuple[Literal["training", "source", "test"], Rows]]:
    if task.role == "source":
        yield "source", task.train
        return
    yield "training", task.train
    yield "test", task.test


def _dataset(
    task: Task, rows: Rows, context: Literal["training", "source", "test"], path: str
) -> TrackedDataset:
    columns = ("prompt", "completion") if task.generates else (*task.fields, "label")
    kinds = tuple(
        (column, "double" if column == "label" and task.kind == "regression" else "string")
        for column in columns
    )
    return TrackedDataset(task.name, redacted(path), _digest(rows), len(rows), context, kinds)


def fingerprint(tasks: Sequence[Task]) -> str:
    """Hash of all rows: equal only for the same texts, labels and splits."""
    digest = hashlib.blake2b(digest_size=16)
    for task in tasks:
        digest.update(repr((task.name, task.role, task.labels, task.prompt, task.words, task.kind)).encode())
        for rows in (task.train, task.test):
            digest.update(_digest(rows).encode())
        if task.unlabelled:
            digest.update(_digest(Rows(task.unlabelled, np.empty(0, dtype=np.int64))).encode())
    return digest.hexdigest()


def _digest(rows: Rows) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if rows.completions:
        digest.update(repr((rows.completions, rows.histories)).encode())
    for text in rows.texts:
        data = FIELD_END.join(parts_of(text)).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    digest.update(rows.labels.tobytes())
    if rows.choices:
        digest.update(repr(rows.choices).encode("utf-8", "surrogatepass"))
    if rows.values is not None:
        digest.update(rows.values.tobytes())
    return digest.hexdigest()
