"""One trial of a sweep, inside a process of Ray Tune: a training for each held-out part and each seed."""

import functools
import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from sgg_ray.alignment import AlignmentReport, mixture_weights
from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import Config, ModelConfig, depends_on_scores, with_values
from sgg_ray.errors import SggError, TrainingError
from sgg_ray.models import PretrainedModel
from sgg_ray.orchestration.messages import Recorded, TrialBegan, TrialReported
from sgg_ray.orchestration.runtime.event_log import Log
from sgg_ray.orchestration.runtime.ray_failures import from_ray
from sgg_ray.orchestration.train.history import History, saved_histories, written_history
from sgg_ray.orchestration.train.torch_trainer import final_checkpoint, make_trainer
from sgg_ray.orchestration.train.train_session import FAILED
from sgg_ray.orchestration.train.train_worker import TrainingJob
from sgg_ray.orchestration.tune.kept_trials import KeptTrial
from sgg_ray.scoring import with_weights
from sgg_ray.tasks import Fold, Task
from sgg_ray.training import Hooks, Predictions, load_predictions, predictions_path, run_training

TRAININGS = "trainings.json"


@dataclass(frozen=True)
class PartScores:
    """Scores for trainings that leave out one part of the shots.

    Attributes:
        rows: weights of the rows [n], by source; of others all rows are drawn alike.
    """

    report: AlignmentReport
    rows: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Sweep:
    """What all trials of a sweep share. Put into the object store once."""

    config: Config
    target: Task
    sources: list[Task]
    folds: list[Fold]
    scores: Mapping[str, list[PartScores]] = field(repr=False)  # for each fold, by `score_key`
    log: Log = field(repr=False)
    kept: Mapping[str, KeptTrial]  # what trials came to before the sweep was stopped, by name
    groups: StorageFolder  # where trainings of several workers keep their checkpoints

    @property
    def trainings(self) -> int:
        """Number of trainings of one trial: held-out parts times seeds."""
        assert self.config.tune is not None
        return len(self.folds) * self.config.tune.seeds

    def weights(self, config: Config, values: Mapping[str, Any], fold: int) -> dict[str, float]:
        """Weights of the sources in a training that leaves out part ``fold``."""
        if not self.sources:
            return {}
        report = self.scores[score_key(values)][fold].report
        scores = [row.score for row in report.sources]
        weights = mixture_weights(scores, config.alignment.weighting)
        return {row.source: float(weight) for row, weight in zip(report.sources, weights)}

    def drawn(self, values: Mapping[str, Any], fold: int) -> list[Task]:
        """The sources with the rows that a training draws which leaves out part ``fold``."""
        rows = self.scores[score_key(values)][fold].rows if self.sources else {}
        return with_weights(self.sources, rows) if rows else self.sources


def score_key(values: Mapping[str, Any]) -> str:
    """The values of a trial that change the alignment scores; trials with equal ones share their scores."""
    return json.dumps({key: values[key] for key in sorted(values) if depends_on_scores(key)})


def run_trial(values: Mapping[str, Any], sweep: Any) -> None:
    """Train and judge one setting; report to Ray Tune after each training, and go on after those reported before.

    A trial that fails does not end the sweep.

    Args:
        values: dotted keys and what they are set to.
        sweep: a :class:`Sweep`, or a reference to one.
    """
    shared: Sweep = ray.get(sweep) if isinstance(sweep, ray.ObjectRef) else sweep
    trial = str(tune.get_context().get_trial_name())
    shared.log.tell(TrialBegan(trial, dict(values)))
    done, failure = _trainings_so_far() or _report_again(shared, trial, values)
    if failure:
        return
    for trainings, reason in trainings_of(shared, trial, values, done):
        _report(shared, trial, trainings, reason)


def trainings_of(
    sweep: Sweep, trial: str, values: Mapping[str, Any], done: list[dict[str, Any]]
) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Do the trainings of a trial that are missing, one after the other.

    A training that comes to nothing (no finite gradients, out of memory) is the last one.

    Args:
        trial: its name.
        values: dotted keys and what they are set to.
        done: what the trainings before have come to.

    Yields:
        After each training what all of them have come to, and why the last one failed, or "".
    """
    config = with_values(sweep.config, values)
    while len(done) < sweep.trainings:
        failure = ""
        try:
            done.append(_train_once(sweep, config, values, len(done), trial))
        except TrainingError as error:
            failure = error.problems[0]
        except torch.OutOfMemoryError:
            failure = "out of memory"
        yield done, failure
        if failure:
            return


def _train_once(
    sweep: Sweep, config: Config, values: Mapping[str, Any], number: int, trial: str
) -> dict[str, Any]:
    """Training ``number`` of a trial: the parts in turn with one seed, then with the next."""
    fold, again = number % len(sweep.folds), number // len(sweep.folds)
    target = sweep.folds[fold].of(sweep.target)
    alignment = config.alignment.model_copy(update={"refresh_interval": 0})
    config = config.model_copy(update={"seed": config.seed + again, "alignment": alignment})
    weights = sweep.weights(config, values, fold)
    started = time.monotonic()
    train = _in_this_process if config.ray.num_workers == 1 else _data_parallel
    predictions, history = train(
        sweep, config, (target, sweep.drawn(values, fold)), weights, f"{trial}/{number}"
    )
    return {
        "losses": predictions.losses.tolist(),
        "correct": predictions.correct.tolist(),
        "seconds": time.monotonic() - started,
        "history": written_history(history),
    }


def _in_this_process(
    sweep: Sweep, config: Config, tasks: tuple[Task, list[Task]], weights: Mapping[str, float], run: str
) -> tuple[Predictions, Recorded]:
    history = History(run, sweep.log)
    hooks = Hooks(on_events=history.steps)
    device = torch.device("cuda" if config.ray.gpus_per_worker > 0 else "cpu")
    place = "cpu" if config.model.quantization is None else str(device)
    foundation = _loaded(config.model.model_dump_json(), place)
    outcome = run_training(config, *tasks, weights, device, hooks=hooks, foundation=foundation)
    return outcome.predictions, history.whole()


@functools.lru_cache(maxsize=1)
def _loaded(model: str, place: str) -> PretrainedModel:
    """The pre-trained model, once for all trainings of this process.

    Args:
        model: the configuration's section as JSON.
        place: the device. The CPU for whole weights, which may not fit a GPU beside a copy.
    """
    return PretrainedModel(ModelConfig.model_validate_json(model), place)


def _data_parallel(
    sweep: Sweep, config: Config, tasks: tuple[Task, list[Task]], weights: Mapping[str, float], run: str
) -> tuple[Predictions, Recorded]:
    """A group of workers beside this process, which only waits for them."""
    # A name of its own: workers of a trial process that has died may still be writing to the last one.
    state = sweep.groups.child(uuid.uuid4().hex)
    job = TrainingJob(config, ray.put(tasks), weights, sweep.log, run, keeps_model=False)
    trainer = make_trainer(job, state)
    try:
        with final_checkpoint(trainer.fit()) as checkpoint:
            predictions = load_predictions(predictions_path(checkpoint, tasks[0]), tasks[0])
            return predictions, saved_histories(checkpoint)[run]
    except SggError:
        raise
    except Exception as error:
        raise from_ray(error, prefix=FAILED) from error
    finally:
        state.delete()


def _trainings_so_far() -> tuple[list[dict[str, Any]], str] | None:
    """What this trial has reported to Ray Tune before its process died; none if it has just begun."""
    stored = tune.get_checkpoint()
    if stored is None:
        return None
    with stored.as_directory() as folder:
        return json.loads((Path(folder) / TRAININGS).read_text(encoding="utf-8")), ""


def _report_again(sweep: Sweep, trial: str, values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Tell Ray Tune, one after the other, what the trial came to before the sweep was stopped; the driver knows it."""
    kept = sweep.kept.get(trial)
    if kept is None or not kept.is_of(values):
        return [], ""
    done = [training.model_dump() for training in kept.trainings]
    for count in range(1, len(done) + 1):
        _report_means(done[:count])
    if kept.failure:
        _report_means(done, kept.failure)
    return done, kept.failure


def _report(sweep: Sweep, trial: str, done: list[dict[str, Any]], failure: str = "") -> None:
    """Tell the driver what there is, and Ray Tune the means."""
    sweep.log.tell(TrialReported(trial, tuple(done), failure))
    sweep.log.require_driver()
    _report_means(done, failure)


def _report_means(done: list[dict[str, Any]], failure: str = "") -> None:
    """What Ray Tune judges a trial by; a failure has no means, so that no search takes it for good."""

    def mean(name: str) -> float:
        return (
            float(np.mean([value for part in done for value in part[name]])) if not failure else float("nan")
        )

    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / TRAININGS).write_text(json.dumps(done), encoding="utf-8")
        tune.report(
            {
                "loss": mean("losses"),
                "accuracy": mean("correct"),
                "trainings": len(done),
                "failure": failure,
            },
            checkpoint=tune.Checkpoint.from_directory(scratch),
        )
