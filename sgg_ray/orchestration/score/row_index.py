"""One vector for every row of a task, on disk: made once by task workers, in shards, and read by any later scoring.

    <storage>/.row-index/<key>/00000.npy, 00001.npy, ...      SHARD_ROWS rows each
    <storage>/.row-index/<key>/facts.npz                      what is known of these rows whatever the target

The key is a hash of the model's files and settings and of the task's rows: a target that is new only asks for its own
shots. Shards are whole or not there, so a scoring that was killed goes on with those that are missing. Neither the
driver nor a worker holds more than a shard.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np

from sgg_ray.alignment import Noise
from sgg_ray.artifacts.files import replaced_file
from sgg_ray.config import Config
from sgg_ray.errors import ConfigError
from sgg_ray.models import locate_model
from sgg_ray.orchestration.run_record import fingerprint
from sgg_ray.rows import ContrastModel
from sgg_ray.scoring import RowFacts
from sgg_ray.tasks import Task

SHARD_ROWS = 1024
FOLDER = ".row-index"  # no run can be called that
FACTS = "facts.npz"
ENDS = 1 << 20  # bytes of each end of a file of weights that are hashed, beside its size
WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class Shard:
    """A stretch of a task's training rows, and the file that holds their vectors."""

    task: str
    start: int
    stop: int
    path: Path


class ShardedVectors:
    """The vectors of all rows [n, D] float32 over shards on disk: read by slices, or by row numbers.

    Slices are read a shard at a time, of which the last one is kept: whoever goes through the rows in their order
    reads every shard once, and never has more than one in memory.

    Args:
        shards: of one task, all of them and in order.

    Raises:
        ConfigError: a shard cannot be read, or is not of these rows.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, shards: Sequence[Shard]):
        self._shards = shards
        self._starts = np.array([shard.start for shard in shards])
        for shard in shards:
            _check(shard)
        self._held = 0, _read(shards[0])
        self.shape = (shards[-1].stop, self._held[1].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            owner = self._owner(start)
            shard = self._shards[owner]
            if step == 1 and start < stop <= shard.stop:
                return self._shard(owner)[start - shard.start : stop - shard.start]
            rows = np.arange(start, stop, step)
        elif rows.dtype == bool:
            rows = np.flatnonzero(rows)
        found = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for owner in np.unique(owners):
            inside = owners == owner
            found[inside] = self._shard(owner)[rows[inside] - self._starts[owner]]
        return found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)

    def _owner(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _shard(self, number: int) -> np.ndarray:
        if self._held[0] != number:
            self._held = number, _read(self._shards[number])
        return self._held[1]


def _check(shard: Shard) -> None:
    """Raise ConfigError unless the file says that it holds these rows, all of them."""
    rows = shard.stop - shard.start
    try:
        with shard.path.open("rb") as file:
            shape, _, dtype = _header(file)
            size = file.tell() + math.prod(shape) * dtype.itemsize
            whole = os.fstat(file.fileno()).st_size == size
    except (OSError, ValueError) as error:
        raise ConfigError(_broken(shard, str(error))) from error
    if len(shape) != 2 or shape[0] != rows or dtype != ShardedVectors.dtype or not whole:
        raise ConfigError(_broken(shard, f"it holds {shape} of {dtype}, not {rows} rows, or not all of them"))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a file that sgg_ray has written")
    return np.lib.format.read_array_header_1_0(file)


def _read(shard: Shard) -> np.ndarray:
    try:
        return np.load(shard.path)
    except (OSError, ValueError) as error:
        raise ConfigError(_broken(shard, str(error))) from error


def _broken(shard: Shard, why: str) -> str:
    return f"ray.storage_path: {shard.path} cannot be read ({why}); delete it, it is made again"


def shards_of(config: Config, task: Task, folder: Path, warmup: str = "") -> list[Shard]:
    """The shards of a task's rows, whether they are there or not.

    Args:
        folder: of the index.
        warmup: key of the warm-up training at whose checkpoints rows are compared; empty at the model as loaded.
    """
    place = folder / index_key(config, task, warmup)
    rows = len(task.train)
    return [
        Shard(task.name, start, min(start + SHARD_ROWS, rows), place / f"{number:05}.npy")
        for number, start in enumerate(range(0, rows, SHARD_ROWS))
    ]


def write_shard(path: Path, vectors: np.ndarray) -> None:
    """Write a shard; it is whole or not there."""
    with replaced_file(path) as file:
        np.save(file, vectors)


def write_facts(path: Path, facts: RowFacts) -> None:
    """Write what is known of a task's rows beside its shards; it is whole or not there."""
    found: dict[str, Any] = {"duplicate_of": facts.duplicate_of, "outlying": facts.outlying}
    if facts.model is not None and facts.noise is not None:
        found |= vars(facts.model) | {f"noise_{key}": value for key, value in vars(facts.noise).items()}
    with replaced_file(path) as file:
        np.savez(file, **found)


def read_facts(path: Path) -> RowFacts | None:
    """What :func:`write_facts` wrote; None where it is not there, or cannot be read: it is made again."""
    try:
        with np.load(path) as stored:
            found = dict(stored)
        duplicates, outlying = found.pop("duplicate_of"), found.pop("outlying")
        if not found:
            return RowFacts(None, duplicates, outlying)
        noise = Noise(found.pop("noise_directions"), float(found.pop("noise_rest")))
        model = ContrastModel(**{**found, "ridge": float(found["ridge"])})
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        return None
    return RowFacts(model, duplicates, outlying, noise)


def index_key(config: Config, task: Task, warmup: str = "") -> str:
    """Equal only for the same vectors: the same model, read in the same way, and the same rows."""
    bare = replace(task, name="", role="source", test=task.train.take([]))
    settings = {
        "model": config.model.model_dump(exclude={"license"}),
        "files": _model_digest(config.model.path),
        "max_length": config.train.max_length,
        "seed": config.seed,
        "rows": fingerprint([bare]),
    }
    if warmup:
        settings |= {"warmup": warmup, "role": task.role}  # those of a target's rows are of another kind
    return digest_of(settings)


def digest_of(content: object) -> str:
    """Digest of what can be written as JSON."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _model_digest(path: str) -> str:
    """Digest of the weights in the model's folder, by name, size and both ends; of a model on a hub its id alone."""
    folder = Path(locate_model(path))
    digest = hashlib.blake2b(digest_size=16)
    if not folder.is_dir():
        digest.update(str(folder).encode())
        return digest.hexdigest()
    for file in sorted(folder.iterdir()):
        if file.suffix in WEIGHTS or file.name == "config.json":
            size = file.stat().st_size
            digest.update(f"{file.name} {size}".encode())
            with file.open("rb") as content:
                digest.update(content.read(ENDS))
                content.seek(max(0, size - ENDS))
                digest.update(content.read(ENDS))
    return digest.hexdigest()
