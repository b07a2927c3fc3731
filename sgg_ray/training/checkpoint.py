"""Save and restore a :class:`Trainer`: one safetensors file, written whole or not at all."""

import json
from pathlib import Path

import torch

from sgg_ray.errors import CheckpointError
from sgg_ray.training.checkpoint_file import read_tensors, write_tensors
from sgg_ray.training.sharded_checkpoint import check_shards, load_shards, parts_of, save_shards
from sgg_ray.training.trainer import Trainer
from sgg_ray.training.updates import load_update_states, update_states

STATE = "trainer.safetensors"
METADATA = ("step", "fitted_in_a_row", "weights", "parameters")
TENSORS = ("values", "skipped", "skipped_in_a_row")


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Write parameters, optimiser moments, guidance state and counters of ``trainer`` into ``folder``.

    Of a sharded training every worker has to; of any other, one.
    """
    if trainer.flat.sharded:
        save_shards(trainer, folder)
        return
    tensors = {"values": trainer.flat.values}
    for number, state in enumerate(trainer.optimiser.state.values()):
        tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
    tensors |= {f"guidance.{name}": value for name, value in trainer.guidance.state_dict().items()}
    tensors |= update_states(trainer.phases)
    tensors |= {"skipped": trainer.skipped, "skipped_in_a_row": trainer.skipped_in_a_row}
    if trainer.diagnostics.previous is not None:
        tensors["previous_sketch"] = trainer.diagnostics.previous
    metadata = {
        "step": str(trainer.step),
        "fitted_in_a_row": str(trainer.early_stopping.in_a_row),
        "weights": json.dumps(trainer.weights),
        "parameters": json.dumps(trainer.flat.names),
    }
    write_tensors(folder / STATE, tensors, metadata)


def check_checkpoint(folder: Path) -> None:
    """Read a checkpoint as :func:`load_checkpoint` will.

    Raises:
        CheckpointError: it is missing, torn, or not as it was written.
    """
    if parts := parts_of(folder):
        check_shards(parts)
    else:
        read_tensors(folder / STATE, METADATA, TENSORS)


def load_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Put ``trainer`` where :func:`save_checkpoint` left it.

    Raises:
        CheckpointError: the file is damaged, or belongs to a model with other parameters.
    """
    if trainer.flat.sharded:
        load_shards(trainer, folder)
        return
    path = folder / STATE
    metadata, tensors = read_tensors(path, METADATA, TENSORS)
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
    load_update_states(trainer.phases, tensors)
    sketch = tensors.get("previous_sketch")
    trainer.diagnostics.previous = None if sketch is None else sketch.to(device)
    trainer.skipped = tensors["skipped"].to(device)
    trainer.skipped_in_a_row = tensors["skipped_in_a_row"].to(device)
    trainer.longest_skip = torch.zeros((), device=device)
    trainer.early_stopping.in_a_row = int(metadata["fitted_in_a_row"])
    trainer.step, trainer.weights = step, weights
