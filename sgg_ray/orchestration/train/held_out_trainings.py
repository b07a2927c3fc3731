"""Trainings that leave out a part of the shots in turn, and predict it: the only rows to choose and calibrate by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sgg_ray.config import Config
from sgg_ray.evaluation import BASELINE, GUIDED
from sgg_ray.orchestration.messages import CalibrationProgress
from sgg_ray.orchestration.runtime.event_log import Log
from sgg_ray.orchestration.runtime.executor import Executor, Inbox, Reference, Resources
from sgg_ray.orchestration.train.train_session import Session
from sgg_ray.orchestration.train.train_worker import ALONE_STATE, device_of
from sgg_ray.tasks import Fold, Task, cross_validation_folds, without_texts
from sgg_ray.training import Event, Hooks, communicator_here, plain, predictions_class, run_training

FOLDS, FOLDS_FOR_TEST = 2, 5  # parts of the shots unless the file says, with test rows and without
RETRIES = 2  # of a training whose process died
WITHOUT_SELF_TRAINING = "without-self-training"
HELD_OUT = "held_out"  # folder of what the trainings predict: MODEL-PART.npy


def usable_folds(config: Config, target: Task) -> list[Fold]:
    """The parts that are left out in turn: as many as asked for, but no more than the largest class has shots.

    A kind of target without probabilities has nothing to choose or calibrate by, and none.
    """
    if not predictions_class(target).calibrated:
        return []
    asked = config.train.calibration_folds
    if asked is None:
        asked = FOLDS_FOR_TEST if config.target.test.is_none else FOLDS
    return cross_validation_folds(target, asked, config.seed) if asked > 1 else []


@dataclass(frozen=True)
class HeldOutTraining:
    """One training without a part of the shots: of the run's own kind, or of its baseline's."""

    model: (
        str  # GUIDED or BASELINE, or WITHOUT_SELF_TRAINING for what the guided ones say without that member
    )
    part: int  # from 1 on
    parts: int

    @property
    def file(self) -> str:
        """Where its predictions are kept in the run folder."""
        return f"{HELD_OUT}/{self.model}-{self.part}.npy"

    def __str__(self) -> str:
        return f"held-out part {self.part}/{self.parts}" + (", target only" if self.model == BASELINE else "")


def held_out_trainings(config: Config, folds: Sequence[Fold]) -> list[HeldOutTraining]:
    """The trainings that leave out a part each; the guided ones, which take longest, first."""
    models = (GUIDED, BASELINE) if config.train.baseline else (GUIDED,)
    return [HeldOutTraining(model, part, len(folds)) for model in models for part in range(1, len(folds) + 1)]


def predict_held_out(
    config: Config,
    target: Task,
    sources: list[Task],
    weights: Mapping[str, float],
    run: str,
    log: Log,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Train as the run did on the target's rows, and predict its held-out ones: [n, W].

    In one process; with ``ray.sharding`` in all of a group, of which the first one tells.

    The second array is what an average says without its self-trained member, if it has one. ``sources`` come out of the
    object store, which holds one copy for all trainings. No held-out text is left in them.
    """

    def telling(name: str) -> Hooks:
        def tell(events: Sequence[Event]) -> None:
            log.tell(CalibrationProgress(name, tuple(events)))

        return Hooks(on_events=tell)  # which the first process alone calls

    hooks = telling(run)
    hooks.of_member = lambda member: telling(f"{run}, {member}")
    sources = without_texts(sources, target.test.texts)
    found = run_training(config, target, sources, weights, device, communicator_here(), hooks)
    return found.array, found.without_self_training


@dataclass(frozen=True)
class Leaving:
    """What trainings without a part of the shots are made of.

    The sources keep the weights of the whole run. Those were chosen with all shots, the held-out ones included, but
    that is one number a source.
    """

    config: Config
    target: Task
    sources: Sequence[Task]
    weights: Mapping[str, float]
    folds: Sequence[Fold]

    def config_of(self, training: HeldOutTraining) -> Config:
        """The configuration of one of the trainings."""
        if training.model == BASELINE:
            return plain(self.config)
        alignment = self.config.alignment.model_copy(update={"refresh_interval": 0})
        return self.config.model_copy(update={"alignment": alignment})

    def target_of(self, training: HeldOutTraining) -> Task:
        """The target without the part, which is its test rows."""
        return self.folds[training.part - 1].of(self.target)


def start_held_out(
    leaving: Leaving, wanted: Sequence[HeldOutTraining], log: Log, executor: Executor
) -> dict[HeldOutTraining, Reference[tuple[np.ndarray, np.ndarray | None]]]:
    """One process a training, as many at a time as the cluster has room for."""
    asked = leaving.config.ray
    resources = Resources(asked.cpus_per_worker, asked.gpus_per_worker)
    shared, nothing = executor.put(list(leaving.sources)), executor.put([])
    found = {}
    for training in wanted:
        guided = training.model == GUIDED
        found[training] = executor.submit(
            predict_held_out,
            leaving.config_of(training),
            leaving.target_of(training),
            *((shared, dict(leaving.weights)) if guided else (nothing, {})),
            str(training),
            log,
            device_of(leaving.config),
            resources=resources,
            retries=RETRIES,
        )
    return found


def hold_out_together(
    leaving: Leaving, training: HeldOutTraining, session: Session, inbox: Inbox
) -> tuple[np.ndarray, np.ndarray | None]:
    """The same of a sharded model, in the workers of the training; waits for its predictions.

    Raises:
        SggError: what stopped it.
    """
    guided = training.model == GUIDED
    return session.executor.together(
        predict_held_out,
        leaving.config_of(training),
        leaving.target_of(training),
        list(leaving.sources) if guided else [],
        dict(leaving.weights) if guided else {},
        str(training),
        inbox.log,
        asked=leaving.config.ray,
        state=session.folder.state(ALONE_STATE),
        meanwhile=lambda: session.pass_on(inbox),
    )
