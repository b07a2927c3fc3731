"""The development suite as the product's tasks: targets with their shots, sources, and the same sources poisoned."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sgg_ray.config import Config
from sgg_ray.tasks import Reader, Task, load_tasks

HERE = Path(__file__).parent
TEST_SHARE, TEST_ROWS, SOURCE_ROWS = 0.4, 400, 600
HALVES = ("development", "report")


def suite() -> dict[str, Any]:
    """What tasks.yaml says."""
    return yaml.safe_load((HERE / "tasks.yaml").read_text(encoding="utf-8"))


def entries() -> dict[str, dict[str, Any]]:
    """Every task of either half by its name, with its file's whole path."""
    found = {}
    for entry in (entry for half in HALVES for entry in suite()[half]):
        found[entry["name"]] = {**entry, "path": str(HERE / entry["path"])}
    return found


def split(
    name: str,
    shots: int,
    seed: int,
    reader: Reader,
    poisoned: bool = False,
    flipped: float = 0.0,
    rest: int | None = None,
) -> tuple[Task, list[Task]]:
    """A target and its sources.

    Args:
        poisoned: every label of some of the sources is wrong.
        flipped: share of wrong labels in every source.
        rest: in place of the test rows so many at most that are neither test rows nor shots.
    """
    whole, every = suite(), entries()
    corpus = every[name]["corpus"]
    sources = {
        source: float(poisoned and source in whole["poisoned"]) or flipped
        for source in whole["sources"]
        if every[source]["corpus"] != corpus
    }
    return read(name, shots, seed, reader, sources, rest)


def read(
    name: str, shots: int, seed: int, reader: Reader, sources: Mapping[str, float], rest: int | None = None
) -> tuple[Task, list[Task]]:
    """A target and any other tasks as its sources.

    Args:
        sources: share of wrong labels by name.
        rest: in place of the test rows so many at most that are neither test rows nor shots.
    """
    every = entries()
    config = Config.model_validate(
        {
            "name": "suite",
            "seed": seed,
            "model": {"path": "-"},
            "target": {
                **_own(every[name]),
                "shots": shots,
                "max_rows": rest or TEST_ROWS,
                "test": {"fraction": TEST_SHARE},
            },
            "sources": [
                {**_own(every[source]), "max_rows": SOURCE_ROWS, "flip_labels": share}
                for source, share in sources.items()
            ],
        }
    )
    target, found = load_tasks(config, reader, "validation" if rest else "test")
    return _short(target), [_short(source) for source in found]


def _own(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "corpus"}


def _short(task: Task) -> Task:
    """Without notes, and with row numbers in few bytes."""
    train = replace(task.train, labels=task.train.labels.astype(np.int64))
    return replace(task, train=train, notes=())
