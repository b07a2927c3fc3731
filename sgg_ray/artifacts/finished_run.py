"""A run that is finished, found by its name or its folder."""

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sgg_ray.artifacts.run_folder import RunFolder
from sgg_ray.artifacts.run_storage import is_uri
from sgg_ray.bounded import read_json
from sgg_ray.config import Config, load_config
from sgg_ray.errors import ConfigError, ModelError, one_line
from sgg_ray.models import MODEL_MANIFEST, read_manifest
from sgg_ray.prediction import Predictor

if TYPE_CHECKING:
    import pandas as pd

Part = TypeVar("Part")
STORAGE = "runs"  # where `ray.storage_path` puts run folders unless told otherwise


@dataclass(frozen=True)
class FinishedRun:
    """A finished training: its run folder, its configuration, its metrics and its model."""

    path: Path
    config: Config = field(repr=False)

    @property
    def model(self) -> Path:
        """Folder of the trained model, with weights, tokenizer, heads and model card."""
        return self.path / "model"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: ``guided``, ``target-only``, ``difference`` and counters.

        Raises:
            ConfigError: it is missing or damaged.
        """
        return read_part(self.path, "metrics.json", read_json)

    def predict(self, texts: Sequence[str]) -> "pd.DataFrame":
        """Label, probability of each label and confidence of each text; of kind generation the answer to each."""
        return Predictor(self.model).predict(texts)


def open_run(run: str | Path) -> FinishedRun:
    """Find a finished training by the folder it left (also behind a URI), or by its name in ``runs``.

    Raises:
        ConfigError: there is no such run, it is not finished, or it trained no model.
    """
    return _opened(_folder_of(run), str(run))


def run_files(run: str | Path, command: str) -> Path:
    """Folder with the files of a finished run of any command; of one behind a URI the local copy.

    Args:
        run: its name in ``runs``, its folder, or a URI.
        command: what makes such runs, for messages.

    Raises:
        ConfigError: there is no such run, or it is not finished.
    """
    folder = _folder_of(run)
    if folder.status == "new":
        raise ConfigError(f"RUN: there is no run folder {run}; give that of a finished `{command}`")
    if folder.status != "finished":
        raise ConfigError(f"RUN: {run} has not finished; repeat its `{command}`")
    folder.fetch()
    return folder.path


def _folder_of(run: str | Path) -> RunFolder:
    if is_uri(run):
        storage, _, name = str(run).partition("?")[0].rstrip("/").rpartition("/")
        options = str(run).partition("?")[1:]
        return RunFolder(storage + "".join(options), name)
    path = next((path for path in (Path(run), Path(STORAGE, run)) if os.path.isfile(path / "run.json")), None)
    if path is None:
        raise ConfigError(_not_found(str(run)))
    path = path.resolve()
    return RunFolder(path.parent, path.name)


def read_part(run: Path, name: str, reader: Callable[[Path], Part]) -> Part:
    """What ``reader`` makes of one file of a run folder.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    try:
        return reader(run / name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(_damaged(run.name, f"{name}: {one_line(str(error))}")) from error


def _opened(folder: RunFolder, run: str) -> FinishedRun:
    try:
        return _read(folder, run)
    except ConfigError as error:
        if error.problems[0].startswith("RUN: "):
            raise
        raise ConfigError(
            _damaged(run, "; ".join(problem.partition("; ")[0] for problem in error.problems))
        ) from error


def _damaged(run: str, what: str) -> str:
    return f"RUN: {run} is damaged ({what.removeprefix('name: ')}); train it anew under another --name"


def _read(folder: RunFolder, run: str) -> FinishedRun:
    if folder.status == "new":
        raise ConfigError(f"RUN: there is no run folder {run}; give that of a finished `sgg train`")
    if folder.status != "finished":
        happened = "failed before finishing" if folder.status == "failed" else "has not finished"
        raise ConfigError(f"RUN: {run} {happened}; repeat its `sgg train` command to resume it")
    folder.fetch()
    if not (folder.path / "model").is_dir():
        raise ConfigError(
            f"RUN: {run} holds no model (it was made by `sgg {folder.record.get('command', 'score')}`); give a run "
            "of `sgg train`"
        )
    try:
        if (folder.path / "model" / MODEL_MANIFEST).exists():  # else whoever loads the model tells
            read_manifest(folder.path / "model")
    except ModelError as error:
        raise ConfigError(_damaged(run, error.problems[0].partition("; ")[0])) from None
    if not (folder.path / "config.yaml").is_file():
        raise ConfigError(_damaged(run, "config.yaml is missing"))
    return FinishedRun(folder.path, load_config(folder.path / "config.yaml"))


def _not_found(run: str) -> str:
    names = sorted(file.parent.name for file in Path(STORAGE).glob("*/run.json"))
    if not names:
        return f"RUN: there is no run folder {run}, and no run in {STORAGE}; give the folder of a finished `sgg train`"
    near = difflib.get_close_matches(run, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"RUN: there is no run folder {run}; {STORAGE} has: {', '.join(names)}{hint}"
