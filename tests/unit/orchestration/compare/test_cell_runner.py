"""A strategy's sources are scored where its training lets them meet the target."""

import json

import pytest
import torch
import toy

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, StrategyConfig
from sgg_ray.orchestration.compare import cell_runner
from sgg_ray.orchestration.compare.cell_record import CellRecord
from sgg_ray.orchestration.compare.cell_runner import CellKey, CellRunner, Split
from sgg_ray.orchestration.compare.split_scores import ROWS, drawn, scoring_of
from sgg_ray.training import run_training

OFF = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0}
SHARED = {"name": "shared", "guidance": OFF, "train": {"share_labels": True}}
APART = {"name": "apart", "guidance": OFF}


@pytest.fixture
def config(settings, tmp_path) -> Config:
    rows = toy.sentences(240, seed=6)
    target = rows[:120] + [{"text": f"word{n} word{n + 1}", "label": "mixed"} for n in range(60)]
    source = rows[120:] + toy.sentences(120, seed=7)
    toy.write_rows(tmp_path / "target.jsonl", target)
    toy.write_rows(tmp_path / "source.jsonl", source)
    sources = [{"name": "wrong", "path": str(tmp_path / "source.jsonl"), "flip_labels": 1.0}]
    return Config.model_validate(
        toy.merged(
            settings,
            {
                "target": {"path": str(tmp_path / "target.jsonl"), "labels": None},
                "sources": sources,
                "train": {"max_steps": 2},
                "compare": {"strategies": [APART, SHARED], "seeds": 1, "shots": [8], "baseline": "apart"},
            },
        )
    )


def test_sources_are_weighted_by_scores_of_the_strategys_own_meeting(config):
    bench = CellRunner(config, torch.device("cpu"))
    split = Split(0, "target", 8)
    scores = bench.score(split)
    values = {
        name: scores[scoring_of(strategy)]["wrong"]["value"] for name, strategy in bench.strategies.items()
    }
    # Flipped labels pull a common head the wrong way, and are as good as right ones at a head of their own.
    assert values["shared"] < 0 < values["apart"]
    shared, apart = (bench.train(CellKey(name, split), scores) for name in ("shared", "apart"))
    assert shared["weights"] == {"wrong": 0.0}
    assert apart["weights"] == {"wrong": 1.0}


def test_scores_are_taken_again_for_a_strategy_that_needs_others(config, tmp_path):
    """One that was added to a comparison which had been scored already."""
    split, folder = Split(0, "target", 8), RunFolder(str(tmp_path / "runs"), config.name)
    folder.begin(config)
    bench = CellRunner(config, torch.device("cpu"))
    apart = {name: own for name, own in bench.strategies.items() if name == "apart"}
    earlier = CellRecord(folder, config, apart)
    earlier.keep_scores(split, {scoring_of(apart["apart"]): {}})
    assert split in earlier.recall_scores([split])
    record = CellRecord(folder, config, bench.strategies)
    assert not record.recall_scores([split])
    record.keep_scores(split, bench.score(split))
    assert split in record.recall_scores([split])


def test_a_strategy_that_chooses_by_itself_is_a_cell_like_any_other(config):
    auto = {
        "name": "auto",
        "alignment": {"weighting": "evidence"},
        "train": {"method": "auto", "share_labels": True},
    }
    compare = config.compare.model_copy(update={"strategies": [StrategyConfig.model_validate(auto)]})
    bench = CellRunner(config.model_copy(update={"compare": compare}), torch.device("cpu"))
    split = Split(0, "target", 8)
    found = bench.train(CellKey("auto", split), bench.score(split))
    assert found["weights"] == {"wrong": 0.0}  # flipped labels at the target's own head
    assert 0 <= found["accuracy"] <= 1
    assert found["trainable"] > 0


KEPT = {**SHARED, "name": "kept", "alignment": {"row_weighting": "keep"}}
RANDOM = {**SHARED, "name": "random", "alignment": {"row_weighting": "top", "row_scores": "random"}}


def test_a_strategy_may_choose_its_rows(config, monkeypatch):
    source = {**config.sources[0].model_dump(exclude_none=True), "flip_labels": 0.3}
    strategies = [{**SHARED, "name": "all"}, KEPT, RANDOM]
    config = Config.model_validate(
        toy.merged(
            config.model_dump(exclude_none=True, exclude_unset=True),
            {"sources": [source], "compare": {"strategies": strategies, "baseline": "all"}},
        )
    )
    bench, split = CellRunner(config, torch.device("cpu")), Split(0, "target", 8)
    scores = json.loads(json.dumps(bench.score(split)))
    found = {name: scores[scoring_of(own)]["wrong"] for name, own in bench.strategies.items()}
    assert ROWS not in found["all"]
    _, (source,), _ = bench._tasks(split)
    kept, random = (
        drawn([source], scores[scoring_of(bench.strategies[name])])[0].train for name in ("kept", "random")
    )
    assert len(random) == round(0.5 * len(source.train))
    assert 0.6 * len(source.train) < len(kept) < 0.85 * len(source.train)
    assert found["kept"]["value"] > found["all"]["value"]  # what is left agrees with the target more
    seen = []

    def remembered(config, target, sources, *rest, **also):
        seen.extend(sources)
        return run_training(config, target, sources, *rest, **also)

    monkeypatch.setattr(cell_runner, "run_training", remembered)
    bench.train(CellKey("kept", split), scores)
    assert [one.train.texts for one in seen] == [kept.texts]


def test_strategies_with_less_share_a_warm_up_but_for_other_settings(config, lm, monkeypatch):
    adapter = {"peft_type": "lora", "r": 2, "target_modules": ["q_proj", "v_proj"]}
    less = {"row_weighting": "top", "row_scores": "less"}
    half, third, other = (
        {**SHARED, "name": name, "alignment": {**less, "row_share": share, "row_warmup": warmup}}
        for name, share, warmup in (
            ("half", 0.5, {"checkpoints": 1}),
            ("third", 0.3, {"checkpoints": 1}),
            ("other", 0.5, {"checkpoints": 1, "preconditioner": "none"}),
        )
    )
    config = Config.model_validate(
        toy.merged(
            config.model_dump(exclude_none=True, exclude_unset=True),
            {
                "model": {"path": str(lm), "adapter": adapter},
                "train": {"max_length": 40},
                "compare": {"strategies": [half, third, other], "baseline": "half"},
            },
        )
    )
    trained, plain = [], cell_runner.with_trajectories

    def counted(model, vectors, settings, seed):
        trained.append(settings.preconditioner)
        return plain(model, vectors, settings, seed)

    monkeypatch.setattr(cell_runner, "with_trajectories", counted)
    bench, split = CellRunner(config, torch.device("cpu")), Split(0, "target", 8)
    scores = bench.score(split)
    assert trained == ["adam", "none"]
    _, (source,), _ = bench._tasks(split)
    left = {
        name: set(drawn([source], scores[scoring_of(own)])[0].train.texts)
        for name, own in bench.strategies.items()
    }
    assert left["third"] < left["half"] != left["other"]
