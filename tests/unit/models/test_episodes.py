"""Episodes: which rows are shown before which, how they are written, and that a saved model shows them as well."""

import numpy as np
import pytest
import torch
import toy

from sgg_ray.models import LanguageModel, build_model, load_model, save_model
from sgg_ray.models.episodes import in_turn, most_examples, others
from sgg_ray.prediction import Predictor
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training

CPU = torch.device("cpu")
REVIEW = {"prompt": "Review: {text}\nLabel:"}
OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0}


@pytest.fixture
def config(make_config, tmp_path):
    path = toy.save_language_model(tmp_path / "lm")
    train = {
        "context_examples": 4,
        "context_length": 96,
        "max_length": 20,
        "max_steps": 4,
        "learning_rate": 1e-2,
    }
    sources = [{"prompt": REVIEW["prompt"]}] * 2
    made = make_config(model={"path": str(path)}, target={**REVIEW, "shots": 4}, train=train, guidance=OFF)
    return made.model_copy(
        update={"sources": [own.model_copy(update=change) for own, change in zip(made.sources, sources)]}
    )


@pytest.fixture
def made(config):
    target, sources = load_tasks(config)
    model = build_model(config, [target, *sources])
    assert isinstance(model, LanguageModel)
    return model, target, sources


def test_classes_take_turns():
    labels = np.array([0] * 7 + [1] * 3 + [2] * 2)
    order = in_turn(labels, np.random.default_rng(0))
    assert sorted(order) == list(range(12))
    assert sorted(labels[order[:3]]) == sorted(labels[order[3:6]]) == [0, 1, 2]


def test_what_is_shown_does_not_tell_the_label_of_what_is_left_out():
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert [most_examples(labels, count) for count in (4, 6, 100)] == [4, 6, 6]
    assert most_examples(np.array([0, 1]), 4) == 0
    for row, shown in enumerate(others(labels, 6, (1, 2))):
        assert row not in shown
        assert np.bincount(labels[shown]).tolist() == [2, 2, 2]


def test_copies_stand_behind_other_rows_and_all_is_a_function_of_the_seed(made):
    model, target, _ = made
    rows = model.tokenise_episodes(target, target.train, 4, seed=3, copies=2)
    again = model.tokenise_episodes(target, target.train, 4, seed=3, copies=2)
    assert len(rows) == 2 * len(target.train)
    assert all(np.array_equal(one, other) for one, other in zip(rows.ids, again.ids))
    np.testing.assert_array_equal(rows.labels, np.tile(target.train.labels, 2))
    assert any(not np.array_equal(rows.ids[row], rows.ids[row + len(target.train)]) for row in range(8))


def test_an_episode_holds_other_shots_with_their_answers_before_the_text(made):
    model, target, _ = made
    rows = model.tokenise_episodes(target, target.train, 4, seed=0)
    for row, text in enumerate(target.train.texts):
        *shown, asked = model.tokenizer.decode(rows.ids[row]).split("Review :")[1:]
        assert asked.split() == [*text.split()[: len(asked.split()) - 2], "Label", ":"]
        assert len(shown) == 4
        told = [one.split()[-1] for one in shown]
        assert sorted(told) == ["negative"] * 2 + ["positive"] * 2
        assert all(text.split()[0] != one.split()[0] or text.split()[1] != one.split()[1] for one in shown)


def test_texts_are_cut_one_by_one_and_examples_left_out_until_all_fits(made):
    model, target, _ = made
    alone = model.tokenise(target, target.train)
    assert max(map(len, alone.ids)) + 1 <= 20
    whole = model.tokenise_episodes(target, target.train, 4, seed=0)
    assert max(map(len, whole.ids)) + 1 <= 96
    object.__setattr__(model.prompter, "max_length", 50)
    short = model.tokenise_episodes(target, target.train, 4, seed=0)
    assert max(map(len, short.ids)) + 1 <= 50
    for one, other in zip(short.ids, alone.ids):
        assert one[-len(other) :].tolist() == other.tolist()  # the text that is asked is as long as ever


def test_a_trained_model_shows_the_shots_and_so_does_the_saved_one(config, tmp_path):
    target, sources = load_tasks(config)
    outcome = run_training(config, target, sources, {"clean": 0.5, "flipped": 0.5}, CPU)
    model = outcome.model
    assert isinstance(model, LanguageModel)
    assert len(model.shots[target.head]) == 4
    asked = model.tokenizer.decode(model.tokenise(target, target.test).ids[0])
    assert asked.count("Review :") == 5
    save_model(model, tmp_path / "saved", base=config.model.path, target_head=target.head)
    again = Predictor(tmp_path / "saved", "cpu").probabilities(target.test.texts)
    np.testing.assert_allclose(again, outcome.probabilities, atol=1e-6)
    loaded, head = load_model(tmp_path / "saved")
    assert isinstance(loaded, LanguageModel)
    assert loaded.shots[head].texts == model.shots[target.head].texts
