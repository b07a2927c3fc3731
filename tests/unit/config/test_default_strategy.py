"""Who says nothing of how to train gets strategy auto; who says anything keeps it."""

import pytest

from sgg_ray.config import dump_config, load_config, without_effect

BASE = "model: {path: m}\ntarget: {path: t.csv, shots: 4}\n"


@pytest.mark.parametrize(
    "more",
    [
        "",
        "train: {max_steps: 9, batch_size: 4, calibration_folds: 0, max_length: 32}",
        "guidance:\ntrain:\nalignment: {confidence: 0.9}",
        "sources: [{name: s, path: s.csv}]",
    ],
)
def test_a_file_that_leaves_it_open_gets_auto(load, more):
    config = load(BASE + more)
    assert (config.strategy, config.train.method, config.train.share_labels) == ("auto", "auto", True)
    assert config.alignment.weighting == "evidence"


@pytest.mark.parametrize(
    "more",
    [
        "guidance: {lambda_direction: 0.1}",
        "train: {learning_rate: 1.0e-4}",
        "train: {method: gradients}",
        "train: {share_labels: false}",
        "alignment: {weighting: relu}",
        "alignment: {refresh_interval: 10}",
        "tune: {num_samples: 3}",
        "compare: {strategies: [full]}",
        "strategy: none",
    ],
)
def test_a_file_that_says_how_keeps_it(load, more):
    config = load(BASE + more)
    assert (config.strategy, config.train.method) == (None, "gradients")
    assert not config.train.share_labels


def test_adapters_and_other_kinds_are_not_decided_for(load):
    adapted = load("model: {path: m, adapter: {peft_type: lora}}\ntarget: {path: t.csv, shots: 4}")
    answers = load("model: {path: m}\ntarget: {path: t.csv, shots: 4, kind: generation}")
    assert adapted.train.method == answers.train.method == "gradients"


def test_the_command_line_has_the_last_word(load, tmp_path):
    load(BASE)
    path = tmp_path / "run.yaml"
    assert load_config(path, strategy="none").train.method == "gradients"
    assert load_config(path, strategy="full").strategy == "full"
    assert load_config(path, ["guidance.lambda_direction=0.2"]).train.method == "gradients"
    assert load_config(path, ["train.max_steps=7"]).train.method == "auto"


def test_a_run_folders_file_trains_as_the_run_did(load, tmp_path):
    for more in ("", "strategy: none"):
        config = load(BASE + more)
        again = tmp_path / "again.yaml"
        again.write_text(dump_config(config))
        assert load_config(again).train == config.train
        assert load_config(again).alignment == config.alignment


def test_values_that_a_strategy_replaces_are_named(load):
    text = (
        BASE
        + "strategy: sgg\ntrain: {learning_rate: 0.01, max_steps: 9}\nguidance: {lambda_direction: 0.3}\n"
    )
    assert load(text).replaced == (
        "train.learning_rate: strategy sgg has 0.0001 in place of 0.01; --set replaces both",
    )
    assert load(text, "train.learning_rate=0.01").replaced == ()
    assert load(text.replace("0.01", "0.0001")).replaced == ()
    assert load(text.replace("strategy: sgg", "strategy: none")).replaced == ()


def test_an_adapter_that_a_strategy_replaces_is_named(load):
    text = "model: {path: m, adapter: {peft_type: ia3}}\ntarget: {path: t.csv, shots: 4}\nstrategy: lora\n"
    (line,) = load(text).replaced
    assert line.startswith("model.adapter: strategy lora has {'peft_type': 'lora'")
    assert "in place of {'peft_type': 'ia3'}" in line


def test_what_the_trainings_of_auto_set_is_named(load):
    config = load(BASE + "strategy: auto\ntrain: {learning_rate: 0.01, max_steps: 9}\n")
    assert config.replaced == (
        "train.learning_rate: trainings of strategy auto have a value of their own in place of 0.01; "
        "--strategy none trains as the file says",
    )


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (".nan", "train.learning_rate: must be a finite number, found nan"),
        ("0", "train.learning_rate: must be > 0, found 0"),
        ("fast", "train.learning_rate: must be a number, found 'fast'"),
    ],
)
@pytest.mark.parametrize("strategy", ["sgg", "auto"])
def test_a_wrong_value_is_refused_though_a_strategy_replaces_it(problems, strategy, value, line):
    assert problems(BASE + f"strategy: {strategy}\ntrain: {{learning_rate: {value}}}\n") == [line]


def test_a_wrong_value_of_a_strategy_is_told_as_its_own(problems):
    answers = "model: {path: m}\ntarget: {path: t.csv, shots: 4, kind: generation}\n"
    (line,) = problems(answers + "strategy: sgg\n")
    assert line == (
        "train.share_labels: a target of kind generation has no labels; leave it out "
        "(strategy sgg sets it: take another one)"
    )
    (line,) = problems(answers + "strategy: sgg\ntrain: {share_labels: true}\n")
    assert line.endswith("has no labels; leave it out")
    (line,) = problems(answers + "strategy: sgg\n", "train.share_labels=true")
    assert line.endswith("has no labels; leave it out")
    (line,) = problems(BASE + "strategy: setfit\nray: {num_workers: 2}\n")
    assert line == "ray.num_workers: train.method setfit trains in one process; use 1"


def test_values_that_choose_rows_without_a_choice_are_named(load):
    assert without_effect(load(BASE + "alignment: {row_scores: cosine, row_share: 0.2}\n")) == [
        "alignment.row_scores: cosine chooses no rows while alignment.row_weighting is none",
        "alignment.row_share: 0.2 is for alignment.row_weighting: top, found none",
    ]
    assert (
        without_effect(load(BASE + "alignment: {row_weighting: top, row_scores: cosine, row_share: 0.2}\n"))
        == []
    )
    assert without_effect(load(BASE)) == []
