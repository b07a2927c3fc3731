"""What a checkpoint of a training holds: a trainer, and the members of an average that have ended.

A single training has its trainer's state in the checkpoint's folder itself. An average has a file for each member that
has ended, ``member-0.safetensors`` and so on, and the trainer's state of the next one, if it had begun, in a folder of
its own, so that it is never taken for another member's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sgg_ray.errors import CheckpointError
from sgg_ray.models import TaskModel
from sgg_ray.tasks import Task
from sgg_ray.training.array_predictions import ArrayPredictions
from sgg_ray.training.checkpoint import check_checkpoint, save_checkpoint
from sgg_ray.training.checkpoint_file import read_tensors, write_tensors
from sgg_ray.training.outcome import Outcome
from sgg_ray.training.predict_rows import predictions_class
from sgg_ray.training.trainer import Trainer

ENDED, UNDER_WAY = "member-{}.safetensors", "member-{}"  # file and folder of a member
METADATA = ("strategy", "skipped_steps", "trainable", "weights")
PREDICTED, PARAMETER = "predicted", "parameter/"


@dataclass(frozen=True)
class TrainingState:
    """How far a training is.

    Args:
        trainer: of the training, or member, under way; None between two members.
        ended: what members of an average came to, by strategy, in the order in which they are trained.
        averages: whether the training is one of several that are averaged.
    """

    trainer: Trainer | None
    ended: Mapping[str, Outcome] = field(default_factory=dict)
    averages: bool = False

    @property
    def step(self) -> int:
        """Steps done of the training, or member, under way."""
        return 0 if self.trainer is None else self.trainer.step

    @property
    def sharded(self) -> bool:
        """Whether every worker has to save its part; else one saves all."""
        return self.trainer is not None and self.trainer.flat.sharded

    def save(self, folder: Path) -> None:
        """Write it into an empty folder."""
        for number, (strategy, outcome) in enumerate(self.ended.items()):
            _save_member(folder / ENDED.format(number), strategy, outcome)
        if self.trainer is not None:
            place = folder / UNDER_WAY.format(len(self.ended)) if self.averages else folder
            place.mkdir(exist_ok=True)
            save_checkpoint(self.trainer, place)


def stored_members(folder: Path) -> tuple[list[Path], Path | None]:
    """Files of an average's members that have ended, in order, and the folder of the one under way, if it had begun.

    Raises:
        CheckpointError: a file is missing, or there is no average.
    """
    ended: list[Path] = []
    while (path := folder / ENDED.format(len(ended))).is_file():
        ended.append(path)
    under_way = folder / UNDER_WAY.format(len(ended))
    known = set(folder.glob(UNDER_WAY.format("*")))
    if not known or known - {*ended, under_way}:
        raise CheckpointError(
            f"name: checkpoint {folder} lacks {ENDED.format(len(ended))}; delete the run folder or give the run "
            "another --name"
        )
    return ended, under_way if under_way in known else None


def check_training_state(folder: Path) -> None:
    """Read a checkpoint as a training that goes on from it will.

    Raises:
        CheckpointError: it is missing, torn, or not as it was written.
    """
    if not any(folder.glob(UNDER_WAY.format("*"))):
        check_checkpoint(folder)
        return
    ended, under_way = stored_members(folder)
    for path in ended:
        read_tensors(path, METADATA, (PREDICTED,))
    if under_way is not None:
        check_checkpoint(under_way)


def _save_member(path: Path, strategy: str, outcome: Outcome) -> None:
    tensors = {
        PARAMETER + name: value for name, value in outcome.model.named_parameters() if value.requires_grad
    }
    metadata = {
        "strategy": strategy,
        "skipped_steps": str(outcome.skipped_steps),
        "trainable": str(outcome.trainable),
        "weights": json.dumps(outcome.weights),
    }
    write_tensors(path, {**tensors, PREDICTED: torch.from_numpy(outcome.array)}, metadata)


def load_member(path: Path, strategy: str, model: TaskModel, target: Task) -> Outcome:
    """What a member came to.

    Args:
        path: of :func:`stored_members`.
        strategy: whose member it has to be.
        model: as it was before the member's training; takes what was trained.
        target: whose test rows were predicted.

    Raises:
        CheckpointError: the file is damaged, or of another strategy, model or task.
    """
    metadata, tensors = read_tensors(path, METADATA, (PREDICTED,))
    predicted = tensors.pop(PREDICTED).numpy()
    trained = {PARAMETER + name: value for name, value in model.named_parameters() if value.requires_grad}
    fits = trained.keys() == tensors.keys() and all(
        value.shape == tensors[name].shape for name, value in trained.items()
    )
    if metadata["strategy"] != strategy or not fits or len(predicted) != len(target.test):
        raise CheckpointError(
            f"name: checkpoint {path} belongs to another strategy, model or target than {strategy}; give the run "
            "another --name"
        )
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(tensors[name])
    kind = predictions_class(target)
    assert issubclass(kind, ArrayPredictions)
    return Outcome(
        model,
        kind(target, target.test, predicted),
        skipped_steps=int(metadata["skipped_steps"]),
        late_updates=0,  # weights are not refreshed in an average
        trainable=int(metadata["trainable"]),
        weights=json.loads(metadata["weights"]),
    )
