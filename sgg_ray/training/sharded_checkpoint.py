"""Checkpoints of a sharded training: a file a worker with its own shards, read by any number of workers.

PyTorch's distributed checkpoints would do the same, but keep their table of contents as a pickle, which runs code when
it is read. Shards are rows of each parameter, so that the table is not needed: who held which rows follows from the
number of workers.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from sgg_ray.errors import CheckpointError
from sgg_ray.gradients import ShardedParameters
from sgg_ray.training.checkpoint_file import read_tensors, write_tensors
from sgg_ray.training.trainer import Trainer
from sgg_ray.training.updates import load_update_states, update_states

PART = "trainer.{}-of-{}.safetensors"
COUNTERS = ("skipped", "skipped_in_a_row")
METADATA = ("step", "fitted_in_a_row", "weights", "shapes")


def save_shards(trainer: Trainer, folder: Path) -> None:
    """Write this worker's shards of parameters, moments and reference, and the counters that all workers share."""
    tensors = {
        f"{buffer}/{name}": shard
        for buffer, start, values in _buffers(trainer)
        for name, shard in _shards(trainer).local(values, start).items()
    }
    tensors |= {f"counters/{name}": value for name, value in _counters(trainer).items()}
    shapes = {name: list(own.shape) for name, own in zip(trainer.flat.names, trainer.flat.parameters)}
    metadata = {
        "step": str(trainer.step),
        "fitted_in_a_row": str(trainer.early_stopping.in_a_row),
        "weights": json.dumps(trainer.weights),
        "shapes": json.dumps(shapes),
    }
    communicator = trainer.communicator
    write_tensors(folder / PART.format(communicator.rank, communicator.world_size), tensors, metadata)


def parts_of(folder: Path) -> list[Path]:
    """The files of a sharded checkpoint, in the order of the workers that wrote them; none if it is no such one.

    Raises:
        CheckpointError: some are missing.
    """
    found = sorted(folder.glob(PART.format("*", "*")))
    if not found:
        return []
    written = re.fullmatch(PART.format(r"\d+", r"(\d+)"), found[0].name)
    parts = [folder / PART.format(rank, written[1]) for rank in range(int(written[1]))] if written else []
    missing = next((part for part in parts if not part.is_file()), None)
    if missing is not None or len(parts) != len(found):
        raise CheckpointError(
            f"name: checkpoint {folder} lacks {missing.name if missing else 'a part'}; delete the run folder or give "
            "the run another --name"
        )
    return parts


def check_shards(parts: list[Path]) -> None:
    """Read every part as :func:`load_shards` will.

    Raises:
        CheckpointError: one is torn, or not as it was written.
    """
    for part in parts:
        read_tensors(part, METADATA, COUNTERS_STORED)


def load_shards(trainer: Trainer, folder: Path) -> None:
    """Put this worker's part of ``trainer`` where :func:`save_shards` left it, whatever the number of workers was.

    Raises:
        CheckpointError: a file is damaged, or the checkpoint belongs to another model, or is not sharded.
    """
    parts = parts_of(folder)
    if not parts:
        raise CheckpointError(
            f"ray.sharding: checkpoint {folder} was written by a training that was not sharded; set it as it was, or "
            "give the run another --name"
        )
    metadata, first = read_tensors(parts[0], METADATA, COUNTERS_STORED)
    shapes = {name: list(own.shape) for name, own in zip(trainer.flat.names, trainer.flat.parameters)}
    if json.loads(metadata["shapes"]) != shapes:
        raise CheckpointError(
            f"name: checkpoint {folder} belongs to a model with other parameters; give the run another --name"
        )
    communicator = trainer.communicator
    _begin_moments(trainer)
    for buffer, start, values in _buffers(trainer):
        for name, shard in _shards(trainer).local(values, start).items():
            rows = _rows(shapes[name][0], communicator.rank, communicator.world_size)
            _copy_rows(shard, rows, parts, f"{buffer}/{name}", shapes[name][0])
    counters = {
        name.removeprefix("counters/"): value for name, value in first.items() if name.startswith("counters/")
    }
    _set_counters(trainer, counters)
    trainer.early_stopping.in_a_row = int(metadata["fitted_in_a_row"])
    trainer.step, trainer.weights = int(metadata["step"]), json.loads(metadata["weights"])


def _shards(trainer: Trainer) -> ShardedParameters:
    assert isinstance(trainer.flat, ShardedParameters)
    return trainer.flat


def _buffers(trainer: Trainer) -> Iterator[tuple[str, int, Tensor]]:
    """Everything that lies as the parameters do: its name, where in the flat buffer it begins, and its values."""
    yield "values", 0, trainer.flat.values
    if trainer.guidance.reference is not None:
        yield "reference", 0, trainer.guidance.reference
    for (where, _), group in zip(trainer.layout.groups, trainer.optimiser.param_groups):
        for parameter in group["params"]:
            for name, value in trainer.optimiser.state.get(parameter, {}).items():
                if value.ndim:
                    yield name, where.start, value


def _begin_moments(trainer: Trainer) -> None:
    """What the optimiser makes at its first step, for the moments to be copied into."""
    for group in trainer.optimiser.param_groups:
        for parameter in group["params"]:
            trainer.optimiser.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def _counters(trainer: Trainer) -> dict[str, Tensor]:
    """Small tensors that are the same on all workers."""
    found = {name: getattr(trainer, name) for name in COUNTERS}
    found |= {
        f"guidance.{name}": value
        for name, value in trainer.guidance.state_dict().items()
        if name != "reference"
    }
    found |= update_states(trainer.phases)
    for number, state in enumerate(trainer.optimiser.state.values()):
        found[f"optimiser.{number}"] = state["step"]
    return found


def _set_counters(trainer: Trainer, stored: dict[str, Tensor]) -> None:
    device = trainer.flat.device
    prefix = "guidance."
    guidance = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    if trainer.guidance.reference is not None:
        guidance["reference"] = trainer.guidance.reference.clone()
    trainer.guidance.load_state_dict(guidance)
    load_update_states(trainer.phases, stored)
    for number, state in enumerate(trainer.optimiser.state.values()):
        state["step"] = stored[f"optimiser.{number}"].to(device)
    for name in COUNTERS:
        setattr(trainer, name, stored[name].to(device))
    trainer.longest_skip = torch.zeros((), device=device)


def _rows(count: int, rank: int, workers: int) -> range:
    """The rows of a parameter of ``count`` rows that one of the workers holds."""
    each = -(-count // workers)
    return range(min(rank * each, count), min((rank + 1) * each, count))


def _copy_rows(shard: Tensor, rows: range, parts: list[Path], name: str, count: int) -> None:
    """Fill a shard, which holds ``rows``, from the files of the workers that held them."""
    for number, part in enumerate(parts):
        held = _rows(count, number, len(parts))
        common = range(max(rows.start, held.start), min(rows.stop, held.stop))
        if len(common):
            with safe_open(part, framework="pt") as stored:
                values = stored.get_slice(name)[common.start - held.start : common.stop - held.start]
            shard[common.start - rows.start : common.stop - rows.start].copy_(values)


COUNTERS_STORED = tuple(f"counters/{name}" for name in COUNTERS)
