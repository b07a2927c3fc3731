"""Strategy auto: which strategies are averaged, and that the average is one model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sgg_ray.models import AveragedModel, PretrainedModel, load_model, read_manifest, save_model
from sgg_ray.tasks import load_tasks
from sgg_ray.training import Hooks, SingleProcess, choose, plain, predict, run_training
from sgg_ray.training.choice import AS_THE_FILE, MEANINGS, member_config

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("strength", "steepness", "shares"),
    [
        (1.0, 0.9, {"sgg": 1 / 2, "sgg-tenth": 1 / 2}),
        (1.0, 0.0, {"sgg": 1 / 2, "sgg-tenth": 1 / 2}),
        (0.0, 0.9, {"sgg-target": 1 / 1.3, "sgg-target-without-names": 0.3 / 1.3}),
        (0.0, 0.1, {"full": 1 / 1.3, "sgg-target-without-names": 0.3 / 1.3}),
        (0.0, None, {"full": 1 / 1.3, "sgg-target-without-names": 0.3 / 1.3}),
        (0.4, 0.5, {"sgg-tenth": 0.5 / 1.2, "sgg": 0.4 / 1.2, "full": 0.3 / 1.2}),
    ],
)
def test_shares_follow_the_sources_strength_and_the_label_names(strength, steepness, shares):
    choice = choose(strength, steepness, budget=3)
    assert dict(choice.shares) == pytest.approx(shares)
    assert max(choice.shares, key=lambda name: choice.shares[name]) == next(iter(choice.shares))
    assert len({*choice.shares, *choice.left_out}) == 3
    assert set(choice.shares) | set(choice.left_out) <= set(MEANINGS)


def test_a_budget_keeps_the_largest_shares():
    assert dict(choose(0.4, 0.5, budget=1).shares) == {"sgg-tenth": 1.0}
    assert dict(choose(0.4, 0.5, budget=2).shares) == pytest.approx({"sgg-tenth": 5 / 9, "sgg": 4 / 9})


def test_unlabelled_texts_give_half_to_a_member_that_is_trained_last():
    assert dict(choose(1.0, 0.9, 3, unlabelled=True).shares) == {
        "sgg": 0.25,
        "sgg-tenth": 0.25,
        "self-training": 0.5,
    }
    choice = choose(0.4, 0.5, 3, unlabelled=True)  # of three members the least gives way
    assert dict(choice.shares) == pytest.approx({"sgg-tenth": 5 / 18, "sgg": 4 / 18, "self-training": 1 / 2})
    assert (
        " + 50 % self-training (target and the unlabelled texts, as the others label them), because "
        in str(choice)
    )
    assert str(choice).endswith("; considered, too: full")


def test_no_source_that_helps_is_said_in_words():
    assert choose(0.0, 0.1, 3).evidence.startswith("no source helps: the target alone")


def test_members_keep_the_files_model_and_take_guidance_and_loop_of_their_strategy(make_config):
    config = make_config(model={"adapter": {"peft_type": "lora", "r": 4}}, train={"method": "auto"})
    full, tenth = member_config(config, "full"), member_config(config, "sgg-tenth")
    assert full.train.method == tenth.train.method == "gradients"
    assert full.model == tenth.model == config.model
    assert full.guidance.lambda_source == 0
    assert (tenth.guidance.lambda_source, tenth.train.head) == (0.1, "label_names")


def test_the_model_predicts_the_mean_of_its_members_also_once_it_is_loaded_again(make_config, tmp_path):
    config = make_config(train={"method": "auto", "max_steps": 3})
    target, sources = load_tasks(config)
    told: list[str] = []
    choices = []
    hooks = Hooks(
        on_events=lambda events: told.append("first"),
        of_member=lambda name: Hooks(on_events=lambda events: told.append(name)),
        on_choice=choices.append,
    )
    weights = {"clean": 0.4}  # a mixture of strength 0.4
    outcome = run_training(config, target, sources, weights, CPU, hooks=hooks)
    assert outcome.choice == choices[0]
    names = list(choices[0].shares)
    assert len(names) == 3
    assert list(dict.fromkeys(told)) == ["first", *names[1:]]

    alone = [
        run_training(member_config(config, name), target, *beside(name, sources), CPU).probabilities
        for name in names
    ]
    expected = sum(share * each for share, each in zip(choices[0].shares.values(), alone))
    np.testing.assert_allclose(outcome.probabilities, expected, atol=1e-6)

    save_model(outcome.model, tmp_path, base=config.model.path, target_head=target.head, fields=("a", "b"))
    assert read_manifest(tmp_path).fields == read_manifest(tmp_path / "member-1").fields == ["a", "b"]
    loaded, head = load_model(tmp_path)
    assert isinstance(loaded, AveragedModel)
    assert head == target.head
    predicted = predict(loaded, loaded.tokenise(target, target.test), 7, SingleProcess())
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


def test_the_last_member_learns_what_the_others_make_of_unlabelled_texts(make_config):
    config = make_config(train={"method": "auto", "max_steps": 3})
    whole, sources = load_tasks(config)
    texts = whole.test.texts[:9]
    target = replace(whole, unlabelled=texts)
    outcome = run_training(config, target, sources, {"clean": 1.0}, CPU)
    assert list(outcome.choice.shares) == ["sgg", "sgg-tenth", "self-training"]
    others = [
        run_training(member_config(config, name), target, *beside(name, sources), CPU)
        for name in ("sgg", "sgg-tenth")
    ]
    mean = np.mean([each.probabilities for each in others], axis=0)
    assert outcome.without_self_training is not None
    np.testing.assert_allclose(outcome.without_self_training, mean, atol=1e-6)

    labelled = replace(whole.test.take(range(9)), labels=mean[:9].argmax(1))
    source = replace(sources[0], name="unlabelled", labels=whole.labels, train=labelled)
    own = member_config(config, "self-training")
    assert (own.guidance.lambda_source, own.guidance.lambda_direction) == (1.0, 0.0)
    last = run_training(own, target, [source], {"unlabelled": 1.0}, CPU)
    np.testing.assert_allclose(outcome.probabilities, (mean + last.probabilities) / 2, atol=1e-6)


def beside(name, sources):
    """What a member trains on: sources in shares that add up to 1, or none."""
    used = [source for source in sources if source.name == "clean"]
    return (used, {"clean": 1.0}) if name in ("sgg", "sgg-tenth") else ([], {})


def test_one_member_is_an_ordinary_model(make_config):
    config = make_config(train={"method": "auto", "max_steps": 2, "budget": 1})
    target, _ = load_tasks(config)
    outcome = run_training(config, target, [], {}, CPU)
    assert not isinstance(outcome.model, AveragedModel)
    assert len(outcome.choice.shares) == 1


def test_a_language_model_is_in_memory_once(make_config, lm, monkeypatch):
    """It is trained once, and not as a copy of what is loaded."""
    copies = []
    monkeypatch.setattr(PretrainedModel, "copy", lambda self: copies.append(self))
    config = make_config(model={"path": str(lm)}, train={"method": "auto", "max_steps": 1, "max_length": 40})
    target, _ = load_tasks(config)
    outcome = run_training(config, target, [], {}, CPU)
    assert (outcome.model.labels[target.head], copies) == (target.labels, [])


LORA: dict[str, Any] = {"peft_type": "lora", "r": 2, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    ("model", "adapter", "sources", "name", "rate"),
    [
        ("lm", LORA, True, "sgg-language-model", 1e-3),
        ("lm", LORA, False, "sgg-target-language-model", 1e-3),
        ("lm", {"peft_type": "ia3", "target_modules": ["k_proj"]}, True, AS_THE_FILE, 5e-5),
        ("lm", None, True, AS_THE_FILE, 5e-5),
        ("t5", LORA | {"target_modules": ["q"]}, True, AS_THE_FILE, 5e-5),
    ],
)
def test_a_language_model_is_trained_as_was_measured_for_its_kind(
    make_config, request, model, adapter, sources, name, rate
):
    """5e-5 would hardly move an adapter; a baseline has the same rate, or it would be no rival."""
    path = str(request.getfixturevalue(model))
    train = {"method": "auto", "max_steps": 1, "max_length": 48, "learning_rate": 5e-5}
    config = make_config(model={"path": path, "adapter": adapter}, train=train)
    target, pool = load_tasks(config)
    clean = [source for source in pool if source.name == "clean"]
    given = (clean, {"clean": 1.0}) if sources else ([], {})
    outcome = run_training(config, target, *given, CPU)
    assert outcome.choice is not None
    assert dict(outcome.choice.shares) == {name: 1.0}
    assert member_config(config, name).train.learning_rate == rate
    assert (plain(config).train.learning_rate, plain(config).guidance.lambda_magnitude) == (rate, 0)


def test_the_baseline_of_a_run_is_plain_fine_tuning(make_config):
    config = make_config(train={"method": "auto"})
    assert plain(config).train.method == "gradients"


def test_an_average_wants_members_and_shares_that_fit():
    with pytest.raises(ValueError, match="need a share"):
        AveragedModel([], [])


def test_a_single_member_goes_on_from_its_checkpoint(make_config, tmp_path):
    config = make_config(train={"method": "auto", "max_steps": 6, "save_steps": 3, "budget": 1})
    target, _ = load_tasks(config)
    whole = run_training(config, target, [], {}, CPU)
    kept, steps = [], []

    def checkpoint(state):
        kept.append(state.step)
        state.save(tmp_path)

    run_training(config, target, [], {}, CPU, hooks=Hooks(checkpoint=checkpoint))
    assert kept == [3]
    hooks = Hooks(
        on_events=lambda events: steps.extend(event["step"] for event in events), resume_from=tmp_path
    )
    again = run_training(config, target, [], {}, CPU, hooks=hooks)
    assert steps == [3, 4, 5]
    np.testing.assert_array_equal(again.probabilities, whole.probabilities)
