"""Save and restore a :class:`Trainer`: one safetensors file, written whole or not at all."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sgg_ray.errors import CheckpointError
from sgg_ray.training.trainer import Trainer

STATE = "trainer.safetensors"
CHECKSUM = "crc32"
METADATA = ("step", "weights", "parameters", CHECKSUM)
TENSORS = ("values", "skipped", "skipped_in_a_row")


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Write parameters, optimiser moments, guidance state and counters of ``trainer`` into ``folder``."""
    tensors = {"values": trainer.flat.values}
    for number, state in enumerate(trainer.optimiser.state.values()):
        tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
    tensors |= {f"guidance.{name}": value for name, value in trainer.guidance.state_dict().items()}
    tensors |= {"skipped": trainer.skipped, "skipped_in_a_row": trainer.skipped_in_a_row}
    if trainer.diagnostics.previous is not None:
        tensors["previous_sketch"] = trainer.diagnostics.previous
    metadata = {
        "step": str(trainer.step),
        "weights": json.dumps(trainer.weights),
        "parameters": json.dumps(trainer.flat.names),
    }
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata[CHECKSUM] = _checksum(metadata, stored)
    temporary = folder / f".{STATE}.part"
    save_file(stored, temporary, metadata)
    os.replace(temporary, folder / STATE)


def check_checkpoint(folder: Path) -> None:
    """Read a checkpoint as :func:`load_checkpoint` will.

    Raises:
        CheckpointError: it is missing, torn, or not as it was written.
    """
    _read(folder / STATE)


def load_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Put ``trainer`` where :func:`save_checkpoint` left it.

    Raises:
        CheckpointError: the file is damaged, or belongs to a model with other parameters.
    """
    path = folder / STATE
    metadata, tensors = _read(path)
    step, weights = int(metadata["step"]), json.loads(metadata["weights"])
    names = tuple(json.loads(metadata["parameters"]))
    if names != tuple(trainer.flat.names) or tensors["values"].shape != trainer.flat.values.shape:
        raise CheckpointError(
            f"name: checkpoint {path} belongs to a model with other parameters; give the run another --name"
        )
    trainer.flat.values.copy_(tensors["values"])
    device = trainer.flat.values.device
    parameters = [parameter for group in trainer.optimiser.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(parameters):
        prefix = f"optimiser.{number}."
        state = {
            name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
        }
        if state:
            trainer.optimiser.state[parameter] = {name: value.to(device) for name, value in state.items()}
    prefix = "guidance."
    trainer.guidance.load_state_dict(
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    )
    sketch = tensors.get("previous_sketch")
    trainer.diagnostics.previous = None if sketch is None else sketch.to(device)
    trainer.skipped = tensors["skipped"].to(device)
    trainer.skipped_in_a_row = tensors["skipped_in_a_row"].to(device)
    trainer.longest_skip = torch.zeros((), device=device)
    trainer.step, trainer.weights = step, weights


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as stored:
            metadata, names = stored.metadata() or {}, set(stored.keys())
            missing = [key for key in METADATA if key not in metadata] + [
                key for key in TENSORS if key not in names
            ]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
            tensors = {name: stored.get_tensor(name) for name in names}
        if _checksum(metadata, tensors) != metadata[CHECKSUM]:
            raise ValueError("its checksum differs: it was changed after it was written")
        return metadata, tensors
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
