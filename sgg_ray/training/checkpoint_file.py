"""Tensors and a few words in one safetensors file with a checksum, written whole or not at all."""

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sgg_ray.errors import CheckpointError

CHECKSUM = "crc32"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, copied to the CPU, and metadata."""
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    words = {**metadata, CHECKSUM: _checksum(metadata, stored)}
    temporary = path.with_name(f".{path.name}.part")
    save_file(stored, temporary, words)
    os.replace(temporary, path)


def read_tensors(
    path: Path, metadata: Sequence[str], tensors: Sequence[str]
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What :func:`write_tensors` wrote.

    Args:
        path: the file.
        metadata: keys that have to be there.
        tensors: likewise.

    Raises:
        CheckpointError: it is missing, torn, or not as it was written.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            words, names = stored.metadata() or {}, set(stored.keys())
            missing = [key for key in (*metadata, CHECKSUM) if key not in words] + [
                key for key in tensors if key not in names
            ]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
            found = {name: stored.get_tensor(name) for name in names}
        if _checksum(words, found) != words[CHECKSUM]:
            raise ValueError("its checksum differs: it was changed after it was written")
        return words, found
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"name: checkpoint {path} cannot be read ({error}); delete the run folder or give the run another --name"
        ) from error


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of names, metadata and bytes: safetensors has none, and a flipped bit is a weight like any other."""
    found = 0
    for name in sorted(metadata.keys() - {CHECKSUM}):
        found = zlib.crc32(f"{name}={metadata[name]}\n".encode(), found)
    for name in sorted(tensors):
        found = zlib.crc32(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode(), found)
        found = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"
