"""Strategies are files over the ordinary configuration; what is wrong with them is told before anything starts."""

import pytest

from sgg_ray.config import apply_strategy, dump_config, load_config, strategies, strategy_configs
from sgg_ray.errors import ConfigError

SHIPPED = sorted(strategies.SHIPPED.glob("*.yaml"))


def comparing(*strategies, **section):
    lines = "".join(f"  {key}: {value}\n" for key, value in section.items())
    return f"compare:\n  strategies: [{', '.join(strategies)}]\n{lines}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_strategy_fits_the_schema_and_says_what_it_is(load, path):
    config = load(comparing(path.stem))
    (strategy,) = config.compare.strategies
    assert strategy.name == path.stem
    assert strategy.description
    assert strategy.chosen
    assert list(strategy_configs(config)) == [path.stem]


def test_a_strategy_changes_its_keys_and_no_others(load):
    config = load(comparing("lora", "sgg") + "guidance: {lambda_direction: 0.7, fd_relative_change: 0.4}\n")
    lora, sgg = strategy_configs(config).values()
    assert (lora.guidance.lambda_direction, lora.guidance.fd_relative_change) == (0, 0.4)
    assert lora.model.path == config.model.path
    assert sgg.guidance == config.guidance
    assert sgg.model == config.model


def test_an_adapter_is_replaced_as_a_whole(load):
    config = load(comparing("ia3", "full"), "model.adapter={peft_type: lora, r: 4}")
    ia3, full = strategy_configs(config).values()
    assert ia3.model.adapter.model_dump() == {"peft_type": "ia3"}
    assert full.model.adapter is None


def test_names_are_looked_up_beside_the_file_first_and_paths_are_relative_to_it(load, tmp_path):
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "full.yaml").write_text("train: {max_steps: 3}\n")
    (tmp_path / "mine.yaml").write_text("name: other\ntrain: {max_steps: 4}\n")
    config = load(comparing("full", "mine.yaml", "lora"))
    steps = {name: own.train.max_steps for name, own in strategy_configs(config).items()}
    assert steps == {"full": 3, "other": 4, "lora": config.train.max_steps}


def test_a_resolved_file_holds_its_strategies_and_needs_no_others(load, tmp_path):
    config = load(comparing("full", "pcgrad", baseline="full"))
    path = tmp_path / "elsewhere" / "config.yaml"
    path.parent.mkdir()
    path.write_text(dump_config(config))
    assert load_config(path).compare == config.compare
    assert config.flat()["compare.strategies.pcgrad.train.combine"] == "pcgrad"


def test_every_strategy_is_run_with_each_combination_of_what_varies(load):
    vary = "{train.learning_rate: [1.0e-4, 2.0e-4], train.max_steps: [5, 6]}"
    found = strategy_configs(load(comparing("full", "bitfit", vary=vary)))
    assert len(found) == 8
    chosen = found["bitfit learning_rate=0.0002 max_steps=5"]
    assert (chosen.train.learning_rate, chosen.train.max_steps, chosen.model.trainable) == (2e-4, 5, "biases")


def test_all_mistakes_are_told_with_their_place(problems):
    wrong = comparing(
        "{name: a, train: {stepz: 3}}",
        "{name: b, train: {schedule: sequential}, guidance: {lambda_alignment: 1}}",
        "{name: c, train: {learning_rate: -1}}",
        vary="{train.lr: [1], seed: [2]}",
    )
    lines = problems(wrong)
    assert [line.split(":")[0] for line in lines] == [
        "compare.strategies.a.train.stepz",
        "compare.strategies.b.guidance.lambda_alignment",
        "compare.strategies.c.train.learning_rate",
        "compare.vary.train.lr",
        "compare.vary.seed",
    ]
    assert "did you mean 'max_steps'?" in lines[0]


def test_a_missing_strategy_names_the_nearest(problems):
    lines = problems(comparing("ful", "lora"))
    assert lines == ["compare.strategies: there is no strategy 'ful'; did you mean 'full'?"]
    assert problems(comparing("ful", baseline="ful")) == lines


def test_a_refused_variant_is_told(problems):
    (line,) = problems(comparing("full", vary="{train.learning_rate: [-1.0]}"))
    assert line.startswith("compare.vary.train.learning_rate: must be greater than 0")


def test_names_and_baseline_must_fit(problems):
    assert "stands 2 times" in problems(comparing("full", "full"))[0]
    assert "none of the strategies" in problems(comparing("full", baseline="lora"))[0]


def test_a_strategy_as_a_section_is_applied_like_a_file(load):
    config = load(comparing("{name: short, train: {max_steps: 2}}"))
    assert apply_strategy(config, config.compare.strategies[0]).train.max_steps == 2


def test_a_files_strategy_stands_above_its_sections_and_overrides_above_both(load):
    text = "strategy: full\ntrain: {learning_rate: 1.0e-3, head_learning_rate: 0.5, max_steps: 7}\n"
    config = load(text, "train.head_learning_rate=0.25")
    assert (config.train.learning_rate, config.train.head_learning_rate, config.train.max_steps) == (
        5e-5,
        0.25,
        7,
    )
    assert config.guidance.lambda_source == 0
    assert config.strategy == "full"


def test_a_strategy_is_resolved_once_so_that_a_replay_has_the_overrides(load, tmp_path):
    config = load("strategy: auto\n", "train.max_steps=12")
    assert (config.train.method, config.alignment.weighting) == ("auto", "evidence")
    path = tmp_path / "again.yaml"
    path.write_text(dump_config(config))
    again = load_config(path)
    assert again.strategy is None
    assert (again.train, again.alignment) == (config.train, config.alignment)


@pytest.mark.parametrize(
    "override", ["train.learning_rate=0.1", "train.head=zero", "guidance.lambda_source=0.5"]
)
def test_what_auto_sets_for_each_training_is_not_set_for_all(load, override):
    with pytest.raises(
        ConfigError, match=f"^--set {override}: strategy auto sets this for each of its trainings"
    ):
        load("strategy: auto\n", override)
    load("strategy: auto\n", override, "strategy=sgg")
    load("strategy: auto\n", "guidance.interval=2", "alignment.weighting=relu")


def test_an_unknown_strategy_is_told_with_the_nearest_name(load, problems):
    assert problems("strategy: sgg-targets\n") == [
        "strategy: there is no strategy 'sgg-targets'; did you mean 'sgg-target'?"
    ]


def test_strategies_that_are_compared_do_not_inherit_the_files_own_choice(load):
    config = load("strategy: auto\n" + comparing("full", "sgg", "auto"))
    methods = {name: own.train.method for name, own in strategy_configs(config).items()}
    assert methods == {"full": "gradients", "sgg": "gradients", "auto": "auto"}
