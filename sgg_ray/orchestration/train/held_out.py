"""What the held-out shots say: how sure the model may be, and whether guidance made it better at all."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sgg_ray.artifacts import RunFolder
from sgg_ray.errors import SggError, TrainingError
from sgg_ray.evaluation import BASELINE, GUIDED, HeldOutComparison
from sgg_ray.models import drop_last_member, read_manifest, write_calibration
from sgg_ray.orchestration.train.held_out_trainings import (
    HELD_OUT,
    WITHOUT_SELF_TRAINING,
    HeldOutTraining,
    Leaving,
    held_out_trainings,
    hold_out_together,
    start_held_out,
    usable_folds,
)
from sgg_ray.orchestration.train.train_session import CHOICE, Session
from sgg_ray.orchestration.train.train_worker import BASELINE_STATE, MODEL, WITHOUT
from sgg_ray.tasks import Fold
from sgg_ray.training import ArrayPredictions, Predictions, predictions_class, predictions_path

CALIBRATION = "calibration.json"
KEPT = "kept.json"  # which model the run keeps, and why
UNLABELLED = "unlabelled.json"  # what texts without labels brought


def judge_on_held_out(session: Session, weights: dict[str, float]) -> None:
    """Train without each part of the shots, then calibrate the model and choose between it and the baseline.

    No test row is looked at. A training that fails here does not fail the run: the guided model is then kept.
    """
    folds = usable_folds(session.config, session.target)
    if not folds or not _trained(session, weights, folds):
        return
    kind, shots = predictions_class(session.target), session.target.train.take(held_rows(folds))
    guided = held_out_predictions(session.folder, folds, GUIDED)
    assert guided is not None
    baseline = held_out_predictions(session.folder, folds, BASELINE)
    without = held_out_predictions(session.folder, folds, WITHOUT_SELF_TRAINING)
    if without is not None:
        compared = kind.compare_held_out(guided, without, shots)
        session.folder.write_json(UNLABELLED, compared.to_dict())
        if compared.verdict == "worse":
            guided = without
            _drop_self_training(session)
    kept = guided
    if baseline is not None:
        compared = kind.compare_held_out(guided, baseline, shots)
        session.folder.write_json(KEPT, compared.to_dict())
        if compared.kept == BASELINE:
            kept = baseline
            _take_baseline(session.folder)
    found = {**kind.fit_calibration(kept, shots), "rows": len(shots), "folds": len(folds)}
    write_calibration(session.folder.path / MODEL, found)
    session.folder.write_json(CALIBRATION, found)


def held_rows(folds: Sequence[Fold]) -> np.ndarray:
    """Positions of the shots that are held out at all, in their order."""
    return np.sort(np.concatenate([fold.held for fold in folds]))


def held_out_predictions(folder: RunFolder, folds: Sequence[Fold], model: str) -> np.ndarray | None:
    """What trainings without them predict for ``held_rows`` [n, C]; None where there is none."""
    files = [folder.path / HeldOutTraining(model, part, len(folds)).file for part in range(1, len(folds) + 1)]
    if not files or not all(file.exists() for file in files):
        return None
    found = np.concatenate([np.load(file) for file in files])
    return found[np.argsort(np.concatenate([fold.held for fold in folds]))]


def cross_validated(session: Session) -> tuple[Predictions, Predictions | None]:
    """Predictions of the held-out shots by the guided trainings and the baseline's, in place of those of test rows.

    Raises:
        TrainingError: they could not be made.
    """
    folds = usable_folds(session.config, session.target)
    unlabelled = stored_comparison(session.folder, UNLABELLED)
    dropped = unlabelled is not None and unlabelled.verdict == "worse"
    models = (WITHOUT_SELF_TRAINING if dropped else GUIDED, BASELINE)
    found = [held_out_predictions(session.folder, folds, model) for model in models]
    rows = session.target.train.take(held_rows(folds)) if folds else session.target.train
    kind = predictions_class(session.target)
    assert issubclass(kind, ArrayPredictions)
    guided, alone = (None if array is None else kind(session.target, rows, array) for array in found)
    if guided is None:
        raise TrainingError(
            "target.test: no quality can be estimated without test rows; give some, or more shots"
        )
    return guided, alone


def stored_comparison(folder: RunFolder, file: str) -> HeldOutComparison | None:
    """A comparison on held-out shots: KEPT, how the run chose its model, or UNLABELLED; None if there was none."""
    path = folder.path / file
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return HeldOutComparison(**{name: found[name] for name in HeldOutComparison.__dataclass_fields__})


def _trained(session: Session, weights: dict[str, float], folds: Sequence[Fold]) -> bool:
    """Run those trainings that the run folder does not have yet."""
    config, folder = session.config, session.folder
    (folder.path / HELD_OUT).mkdir(exist_ok=True)
    wanted = [
        training
        for training in held_out_trainings(config, folds)
        if not (folder.path / training.file).exists()
    ]
    if not wanted:
        return True
    members = _members(folder)
    many = sum(members if training.model == GUIDED else 1 for training in wanted)
    session.listener.stage(f"holding out shots: {many} trainings, each without a part of them")
    inbox = session.executor.inbox()
    leaving = Leaving(config, session.target, session.sources, weights, folds)
    sharded = config.ray.sharding is not None
    pending = {} if sharded else start_held_out(leaving, wanted, inbox.log, session.executor)
    try:
        for training in wanted:
            found, without = (
                hold_out_together(leaving, training, session, inbox)
                if sharded
                else session.wait_for(inbox, pending[training])
            )
            if without is not None:
                _save(folder.path / replace(training, model=WITHOUT_SELF_TRAINING).file, without)
            _save(folder.path / training.file, found)
    except SggError as error:
        if session.config.target.test.is_none:
            raise
        session.listener.note(f"the model is not calibrated, and not compared on held-out shots: {error}")
        return False
    except BaseException:
        for reference in pending.values():
            session.executor.cancel(reference)
        raise
    return True


def _members(folder: RunFolder) -> int:
    """How many trainings the run's model is averaged from."""
    path = folder.path / CHOICE
    return len(json.loads(path.read_text(encoding="utf-8"))["shares"]) if path.exists() else 1


def _save(path: Path, probabilities: np.ndarray) -> None:
    """Write the file whole or not at all: that it is there says that the training has ended."""
    part = path.with_name(f".{path.name}")
    np.save(part, probabilities)
    os.replace(part, path)


def _drop_self_training(session: Session) -> None:
    """Leave the self-trained member out of the model and its predictions. The run can be killed and do it again."""
    folder = session.folder.path
    model, part = folder / MODEL, folder / f".{MODEL}.part"
    chosen = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    if len(read_manifest(model).shares or (1.0,)) == len(chosen["shares"]):
        shutil.rmtree(part, ignore_errors=True)
        drop_last_member(model, part)
        replace_folder(part, model)
    without = predictions_path(folder, session.target, WITHOUT)
    if without.exists():
        os.replace(without, predictions_path(folder, session.target))


def _take_baseline(folder: RunFolder) -> None:
    """Put the baseline's model in place of the guided one. The run can be killed at any moment and do it again."""
    part = folder.path / f".{MODEL}.part"
    shutil.rmtree(part, ignore_errors=True)
    folder.state(BASELINE_STATE).download(part)
    replace_folder(part, folder.path / MODEL)


def replace_folder(part: Path, place: Path) -> None:
    """Put a folder that is complete where another may be."""
    shutil.rmtree(place, ignore_errors=True)
    os.replace(part, place)
