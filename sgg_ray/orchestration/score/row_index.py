"""One vector for every row of a task, on disk: made once by task workers, in shards, and read by any later scoring.

    <storage>/.row-index/<key>/00000.npy, 00001.npy, ...      SHARD_ROWS rows each
    <storage>/.row-index/<key>/facts.npz                      what is known of these rows whatever the target

The key is a hash of the model's files and settings and of the task's rows: a target that is new only asks for its own
shots. Shards are whole or not there, so a scoring that was killed goes on with those that are missing. They are read
through memory maps: neither the driver nor a worker holds more than a shard.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

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
    """The vectors of all rows [n, D] over memory-mapped shards: read by slices, or by row numbers.

    Args:
        shards: of one task, all of them and in order.

    Raises:
        ConfigError: a shard cannot be read, or is not of these rows.
    """

    def __init__(self, shards: Sequence[Shard]):
        self._maps = [_mapped(shard) for shard in shards]
        self._starts = np.array([shard.start for shard in shards])
        self.shape = (shards[-1].stop, self._maps[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        elif rows.dtype == bool:
            rows = np.flatnonzero(rows)
        found = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for owner in np.unique(owners):
            inside = owners == owner
            found[inside] = self._maps[owner][rows[inside] - self._starts[owner]]
        return found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or np.float32, copy=False)


def _mapped(shard: Shard) -> np.ndarray:
    try:
        found = np.load(shard.path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ConfigError(_broken(shard, str(error))) from error
    if found.ndim != 2 or len(found) != shard.stop - shard.start:
        raise ConfigError(_broken(shard, f"it holds {found.shape}, not {shard.stop - shard.start} rows"))
    return found


def _broken(shard: Shard, why: str) -> str:
    return f"ray.storage_path: {shard.path} cannot be read ({why}); delete it, it is made again"


def shards_of(config: Config, task: Task, folder: Path) -> list[Shard]:
    """The shards of a task's rows, whether they are there or not.

    Args:
        folder: of the index.
    """
    place = folder / index_key(config, task)
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
    model = {} if facts.model is None else vars(facts.model)
    with replaced_file(path) as file:
        np.savez(file, duplicate_of=facts.duplicate_of, outlying=facts.outlying, **model)


def read_facts(path: Path) -> RowFacts | None:
    """What :func:`write_facts` wrote; None where it is not there, or cannot be read: it is made again."""
    try:
        with np.load(path) as stored:
            found = dict(stored)
    except (OSError, ValueError, BadZipFile):
        return None
    duplicates, outlying = found.pop("duplicate_of"), found.pop("outlying")
    if not found:
        return RowFacts(None, duplicates, outlying)
    return RowFacts(ContrastModel(**{**found, "ridge": float(found["ridge"])}), duplicates, outlying)


def index_key(config: Config, task: Task) -> str:
    """Equal only for the same vectors: the same model, read in the same way, and the same rows."""
    bare = replace(task, name="", role="source", test=task.train.take([]))
    settings = {
        "model": config.model.model_dump(exclude={"license"}),
        "files": _model_digest(config.model.path),
        "max_length": config.train.max_length,
        "seed": config.seed,
        "rows": fingerprint([bare]),
    }
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()


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
