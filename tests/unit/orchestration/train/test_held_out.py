"""What held-out shots decide is done to the run folder: temperature, choice, and the model itself."""

import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import HeldOutConfig
from sgg_ray.errors import TrainingError
from sgg_ray.evaluation import BASELINE, GUIDED, fit_temperature
from sgg_ray.models import (
    AveragedModel,
    EncoderClassifier,
    build_model,
    load_model,
    read_temperature,
    save_model,
)
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.train import held_out
from sgg_ray.orchestration.train.held_out import (
    KEPT,
    UNLABELLED,
    cross_validated,
    held_out_predictions,
    judge_on_held_out,
    stored_comparison,
)
from sgg_ray.orchestration.train.held_out_trainings import held_out_trainings, usable_folds
from sgg_ray.orchestration.train.train_worker import WITHOUT
from sgg_ray.tasks import load_tasks
from sgg_ray.training import LabelPredictions, load_predictions, predictions_path


@pytest.fixture
def session(make_config, tmp_path):
    """A run whose trainings have ended: the guided model has a head of ones, the baseline's one of zeros."""
    config = make_config(train={"calibration_folds": 2, "baseline": True})
    target, sources = load_tasks(config)
    folder = RunFolder(tmp_path / "runs", "toy")
    folder.begin(config)
    for place, value in ((folder.path / "model", 1.0), (tmp_path / "alone", 0.0)):
        model: Any = build_model(config, [target])
        torch.nn.init.constant_(model.head(target.head).bias, value)
        place.mkdir()
        save_model(model, place, base=config.model.path, target_head=target.head)
    folder.state("baseline_model").upload(tmp_path / "alone")
    return SimpleNamespace(
        config=config, target=target, sources=sources, folder=folder, listener=NullListener()
    )


def fake_trainings(session, monkeypatch, good, without=None):
    """Trainings that predict the right label with 0.9 if they are of the model ``good``, else with 0.4 or so.

    Args:
        without: what the guided ones say of rows with these labels without their self-trained member.
    """
    ran = []

    def start(leaving, wanted, log, executor):
        ran.extend(wanted)
        return {training: training for training in wanted}

    def wait(inbox, training):
        folds = usable_folds(session.config, session.target)
        rows = session.target.train.labels[folds[training.part - 1].held]
        chances = (
            np.where(np.arange(len(rows)) % 3, 0.9, 0.7)
            if training.model == good
            else np.full(len(rows), 0.4)
        )
        found = np.where(rows[:, None] == np.arange(2), chances[:, None], 1 - chances[:, None])
        return found, (without(rows) if without and training.model == GUIDED else None)

    session.executor = SimpleNamespace(inbox=lambda: SimpleNamespace(log=None))
    monkeypatch.setattr(held_out, "start_held_out", start)
    session.wait_for = wait
    return ran


@pytest.mark.parametrize(("good", "bias"), [(GUIDED, 1.0), (BASELINE, 0.0)])
def test_the_model_that_is_not_worse_is_the_runs(session, monkeypatch, good, bias):
    fake_trainings(session, monkeypatch, good)
    judge_on_held_out(session, {})
    assert stored_comparison(session.folder, KEPT).kept == good
    model, head = load_model(session.folder.path / "model")
    assert isinstance(model, EncoderClassifier)
    assert model.head(head).bias.tolist() == [bias, bias]
    folds = usable_folds(session.config, session.target)
    kept = held_out_predictions(session.folder, folds, good)
    labels = session.target.train.labels
    assert (kept.argmax(1) == labels).all()  # in the order of the shots
    assert read_temperature(session.folder.path / "model") == pytest.approx(fit_temperature(kept, labels))


def test_a_run_that_was_killed_does_only_what_is_missing(session, monkeypatch):
    ran = fake_trainings(session, monkeypatch, BASELINE)
    every = held_out_trainings(session.config, usable_folds(session.config, session.target))
    assert [training.model for training in every] == [GUIDED, GUIDED, BASELINE, BASELINE]
    (session.folder.path / "held_out").mkdir()
    for training in every[:3]:
        np.save(session.folder.path / training.file, session.wait_for(None, training)[0])
    judge_on_held_out(session, {})
    assert ran == every[3:]
    first = stored_comparison(session.folder, KEPT)
    judge_on_held_out(session, {})  # killed after the choice: it is the same
    assert (ran, stored_comparison(session.folder, KEPT)) == (every[3:], first)
    model, head = load_model(session.folder.path / "model")
    assert isinstance(model, EncoderClassifier)
    assert model.head(head).bias.tolist() == [0.0, 0.0]


def test_what_unlabelled_texts_brought_is_told_from_the_same_shots(session, monkeypatch):
    def wrong(rows):
        return np.where(rows[:, None] == np.arange(2), 0.2, 0.8)

    fake_trainings(session, monkeypatch, GUIDED, wrong)
    judge_on_held_out(session, {})
    found = stored_comparison(session.folder, UNLABELLED)
    assert (found.verdict, found.rows) == ("better", len(session.target.train))
    assert (found.accuracy, found.baseline_accuracy) == (1.0, 0.0)


@pytest.mark.parametrize("others", [1, 2])
def test_a_self_trained_member_that_makes_it_worse_is_left_out(session, monkeypatch, others):
    def right(rows):
        return np.where(rows[:, None] == np.arange(2), 0.9, 0.1)

    members = []
    for number in range(others + 1):
        member: Any = build_model(session.config, [session.target])
        torch.nn.init.constant_(member.head(session.target.head).bias, float(number))
        members.append(member)
    names = [f"member {number}" for number in range(others)]
    shares = {**dict.fromkeys(names, 0.5 / others), "self-training": 0.5}
    shutil.rmtree(session.folder.path / "model")
    (session.folder.path / "model").mkdir()
    average = AveragedModel(members, list(shares.values()))
    base = session.config.model.path
    save_model(average, session.folder.path / "model", base=base, target_head=session.target.head)
    session.folder.write_json("choice.json", {"shares": shares})
    test = session.target.test
    for prefix, value in (("", 0.3), (WITHOUT, 0.7)):
        found = np.full((len(test), 2), value)
        path = predictions_path(session.folder.path, session.target, prefix)
        LabelPredictions(session.target, test, found).save(path)

    fake_trainings(session, monkeypatch, BASELINE, right)  # guided with self-training: 0.4
    for _ in range(2):  # the second time as after being killed
        judge_on_held_out(session, {})
        assert stored_comparison(session.folder, UNLABELLED).verdict == "worse"
        assert (
            stored_comparison(session.folder, KEPT).kept == GUIDED
        )  # what is left is no worse than the baseline
        model, head = load_model(session.folder.path / "model")
        kept: Any = model.members if others == 2 else [model]
        assert [each.head(head).bias[0].item() for each in kept] == list(range(others))
        if others == 2:
            assert model.shares == (0.5, 0.5)
        path = predictions_path(session.folder.path, session.target)
        stored: Any = load_predictions(path, session.target)
        assert (stored.found == 0.7).all()
    guided: Any = cross_validated(session)[0]
    assert (guided.found.argmax(1) == session.target.train.labels).all()


def test_all_trainings_of_an_average_are_counted(session, monkeypatch):
    told = []
    monkeypatch.setattr(session.listener, "stage", told.append, raising=False)
    fake_trainings(session, monkeypatch, GUIDED)
    session.folder.write_json("choice.json", {"shares": {"sgg": 0.5, "sgg-tenth": 0.5}})
    judge_on_held_out(session, {})
    assert told == ["holding out shots: 6 trainings, each without a part of them"]


def test_without_held_out_shots_or_baseline_nothing_is_chosen(session, monkeypatch):
    ran = fake_trainings(session, monkeypatch, GUIDED)
    train = session.config.train
    for changes, trainings in (({"calibration_folds": 0}, 0), ({"baseline": False}, 2)):
        session.config = session.config.model_copy(update={"train": train.model_copy(update=changes)})
        judge_on_held_out(session, {})
        assert stored_comparison(session.folder, KEPT) is None
        assert len(ran) == trainings


def test_without_test_rows_the_held_out_shots_are_evaluated(session, monkeypatch):
    fake_trainings(session, monkeypatch, GUIDED)
    target = session.config.target.model_copy(update={"test": HeldOutConfig.model_validate("none")})
    train = session.config.train.model_copy(update={"calibration_folds": None})
    session.config = session.config.model_copy(update={"target": target, "train": train})
    with pytest.raises(TrainingError, match=r"^target\.test: "):
        cross_validated(session)
    judge_on_held_out(session, {})
    both: Any = cross_validated(session)
    guided, alone = both
    assert len(usable_folds(session.config, session.target)) == 5
    assert guided.rows.texts == session.target.train.texts
    assert guided.metrics().accuracy == 1.0
    assert guided.metrics().accuracy_low < 0.9  # 16 rows
    assert alone.metrics().accuracy == 0.0
    assert guided.minus(alone).difference == 1.0
