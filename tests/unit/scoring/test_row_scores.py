"""Scores of a pool's rows from a model: flipped rows are found, a contradicting source is, and so is a wrong shot."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sgg_ray.models import build_model
from sgg_ray.rows import align_rows, row_products, suspects
from sgg_ray.scoring import RowVectors, name_vectors, row_vectors, score_rows
from sgg_ray.scoring.head_pass import Meeting, read_rows
from sgg_ray.tasks import load_tasks

PEFT = {"adapter": {"peft_type": "lora", "r": 2, "target_modules": ["q_proj", "v_proj"]}}


def scored(config, language_model=False, spoil=None, contradicting=()):
    """Scores of the rows of a configuration's tasks, and the tasks."""
    target, sources = load_tasks(config)
    if spoil is not None:
        labels = target.train.labels.copy()
        labels[spoil] = 1 - labels[spoil]
        target = replace(target, train=replace(target.train, labels=labels))
    model = build_model(config, [target])
    found = [
        RowVectors(task, row_vectors(model, task, 0, len(task.train), 0), name_vectors(model, task))
        for task in (target, *sources)
    ]
    shares = {source.name: 1.0 for source in sources if source.name == "clean"}
    return (
        score_rows(found[0], found[1:], shares, contradicting, language_model=language_model),
        target,
        sources,
    )


def some_flipped(data, **also):
    path = str(data / "clean.jsonl")
    return {
        "sources": [
            {"name": "clean", "path": path, **also},
            {"name": "some", "path": path, "flip_labels": 0.2, **also},
            {"name": "flipped", "path": path, "flip_labels": 1.0, **also},
            {"name": "other", "path": str(data / "other.jsonl"), **also},
        ]
    }


def test_an_encoders_rows(make_config, data):
    found, target, sources = scored(make_config(**some_flipped(data)), spoil=3, contradicting={"flipped"})
    assert list(found) == [target.name, "clean", "some", "flipped", "other"]
    clean, some = sources[0].train, sources[1].train
    right = dict(zip(clean.texts, clean.labels))
    wrong = np.array([right[text] != label for text, label in zip(some.texts, some.labels)])
    assert roc_auc_score(wrong, found["some"].wrong) > 0.95
    assert 0.08 < found["some"].rate < 0.26
    assert wrong[suspects(found["some"].wrong)].mean() > 0.9
    assert suspects(found["clean"].wrong).mean() < 0.05
    assert found["flipped"].wrong.mean() > 0.9
    assert found["clean"].alignment.mean() > 0 > found["flipped"].alignment.mean()
    np.testing.assert_allclose(found["clean"].influence, -found["flipped"].influence, rtol=1e-3, atol=1e-3)
    assert found[target.name].wrong.argmax() == 3
    assert found[target.name].suggested[3] != target.train.labels[3]
    # What speaks against a label has another one.
    pairs = [
        (target.train.labels[found["some"].against[row][0]], some.labels[row])
        for row in np.flatnonzero(wrong)
    ]
    assert all(shot != label for shot, label in pairs)
    assert all(np.isfinite(one.influence).all() for one in found.values())


def test_one_pass_finds_what_the_formulas_say():
    random = np.random.default_rng(0)
    rows, classes = random.normal(size=(2500, 6)).astype(np.float32), random.integers(0, 3, 2500)
    shots, theirs = random.normal(size=(5, 6)), np.eye(2)[[0, 1, 0, 1, 1]] - 0.5
    table = np.array([[0.5, -0.5], [-0.5, 0.5], [0.0, 0.0]])  # the third class is no label of the target
    meeting = Meeting(rows[:9].mean(axis=0), table, random.normal(size=(2, 6)), shots[:2], shots, theirs)
    ours = random.normal(size=(4, 6))
    found = read_rows(rows, classes, meeting, {"more": (ours, np.arange(4))})
    plain = align_rows(rows, table[classes], meeting.mean, meeting.gradient, meeting.preconditioned)
    np.testing.assert_allclose(found.alignment.cosine, plain.cosine, atol=1e-5)
    np.testing.assert_allclose(found.alignment.influence, plain.influence, atol=1e-4)
    np.testing.assert_allclose(found.spoken["more"], rows @ ours.T - np.arange(4), atol=1e-4)
    pairs = row_products(rows - meeting.mean, table[classes], shots, theirs)
    pairs = np.where(table[classes] @ theirs.T < 0, pairs, 0.0)
    worst = np.take_along_axis(pairs, found.against.astype(int), axis=1)
    strongest = np.sort(pairs, axis=1)[:, :3]
    np.testing.assert_array_equal(found.against >= 0, strongest < 0)
    np.testing.assert_allclose(worst[found.against >= 0], strongest[strongest < 0], atol=1e-6)
    assert (found.against[classes == 2] == -1).all()


def test_a_source_of_one_class_has_no_scores_and_says_why(make_config, data, tmp_path):
    rows = (data / "clean.jsonl").read_text().splitlines()[1::2]
    (tmp_path / "single.jsonl").write_text("\n".join(rows))
    single = {"name": "single", "path": str(tmp_path / "single.jsonl"), "labels": ["negative", "positive"]}
    config = make_config(sources=[{"name": "clean", "path": str(data / "clean.jsonl")}, single])
    found, _, _ = scored(config)
    assert "no rows of two labels" in found["single"].note
    assert np.isnan(found["single"].alignment).all()
    assert np.isfinite(found["clean"].alignment).all()


def test_a_language_models_rows(make_config, data, lm):
    config = make_config(
        model={"path": str(lm), **PEFT}, train={"max_length": 40}, **some_flipped(data, max_rows=80)
    )
    found, _, sources = scored(config, language_model=True, contradicting={"flipped"})
    clean, some = sources[0].train, sources[1].train
    right = dict(zip(clean.texts, clean.labels))
    wrong = np.array([right[text] != label for text, label in zip(some.texts, some.labels)])
    assert roc_auc_score(wrong, found["some"].wrong) > 0.7  # the model is random
    assert found["flipped"].wrong.mean() > found["clean"].wrong.mean() + 0.3


@pytest.mark.slow
def test_rows_with_completions(make_generation):
    sources = make_generation().sources[0].model_dump(exclude_unset=True)
    some = {**sources, "name": "some", "shuffle_completions": 0.3}
    config = make_generation(sources=[sources, some], model=PEFT)
    found, _, (clean, shuffled) = scored(config, language_model=True)
    right = dict(zip(clean.train.texts, clean.train.completions))
    wrong = [right[text] != said for text, said in zip(shuffled.train.texts, shuffled.train.completions)]
    assert np.isfinite(found["some"].alignment).all()
    assert roc_auc_score(wrong, found["some"].wrong) > 0.5
    assert set(found["some"].suggested) == {-1}
