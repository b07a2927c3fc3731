"""Choose each strategy's settings on development seeds and validation rows, never on test rows.

    python studies/choose_settings.py plan pipelines/configs/compare.yaml --out pipelines/configs/choose.yaml
    python studies/compare_cells.py pipelines/configs/choose.yaml --processes 14      # or: sgg compare
    python studies/choose_settings.py choose pipelines/configs/choose.yaml --run runs/choose-compare \
        --base pipelines/configs/compare.yaml --out pipelines/configs/chosen.yaml

Candidates of a strategy are its file with a third, one and three times its learning rate, and what
``studies/candidates.yaml`` lists for it. The best mean accuracy over the splits that all candidates of a strategy
have wins; the table tells by how much, with the standard error of the paired difference to the file's own settings.
Strategies whose file says ``chosen: as NAME`` take over what is chosen for that one.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sgg_ray.config import load_config
from sgg_ray.config.strategies import SECTIONS
from sgg_ray.orchestration.compare.cell_runner import CellKey, Split, fingerprint_of, strategy_configs

FACTORS = (1 / 3, 3)
CANDIDATES = Path(__file__).with_name("candidates.yaml")
AS = "as "

Strategy = dict[str, Any]


def candidates_of(strategy: Strategy, more: dict[str, list[Strategy]]) -> Iterator[Strategy]:
    """The file's own settings first."""
    yield strategy
    train = strategy.get("train", {})
    rate = "head_learning_rate" if "learning_rate" not in train else "learning_rate"
    if rate in train:
        for factor in FACTORS:
            yield merged(strategy, {"train": {rate: float(f"{factor * train[rate]:.2g}")}})
    for changes in more.get(strategy["name"], []):
        yield merged(strategy, changes)


def merged(strategy: Strategy, changes: Strategy) -> Strategy:
    return strategy | {section: {**strategy.get(section, {}), **keys} for section, keys in changes.items()}


def strategies_of(path: str) -> list[Strategy]:
    compare = load_config(path).compare
    assert compare is not None
    return [one.model_dump() for one in compare.strategies]


def plan(arguments: argparse.Namespace) -> None:
    document = yaml.safe_load(Path(arguments.config).read_text(encoding="utf-8"))
    more = yaml.safe_load(CANDIDATES.read_text(encoding="utf-8"))
    found = []
    for strategy in strategies_of(arguments.config):
        if strategy["chosen"].startswith(AS):
            continue
        for number, candidate in enumerate(candidates_of(strategy, more)):
            found.append(candidate | {"name": f"{strategy['name']}-{number}"})
    document["name"], document["seed"] = "choose", arguments.seed
    document["compare"] |= {"strategies": found, "eval_split": "validation", "seeds": arguments.seeds}
    document["compare"] |= {"shots": arguments.shots, "baseline": found[0]["name"], "unseen": []}
    unseen = set(load_config(arguments.config).compare.unseen)  # pyright: ignore[reportOptionalMemberAccess]
    document["sources"] = [source for source in document["sources"] if source["name"] not in unseen]
    Path(arguments.out).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    print(f"{len(found)} candidates of {len({name_of(one) for one in found})} strategies")


def name_of(candidate: Strategy) -> str:
    return candidate["name"].rpartition("-")[0]


def accuracies(path: str, folder: Path) -> dict[str, dict[Split, float]]:
    """Of every candidate, by split."""
    config = load_config(path)
    assert config.compare is not None
    found: dict[str, dict[Split, float]] = {}
    for name, strategy in strategy_configs(config).items():
        for seed in range(config.seed, config.seed + config.compare.seeds):
            for target in config.compare.targets:
                for shots in config.compare.shots:
                    split = Split(seed, target, shots)
                    place = folder / "cells" / f"{fingerprint_of(strategy, CellKey(name, split))}.json"
                    if place.exists():
                        found.setdefault(name, {})[split] = json.loads(place.read_text())["accuracy"]
    return found


def choose(arguments: argparse.Namespace) -> None:
    known = accuracies(arguments.config, Path(arguments.run))
    groups: dict[str, list[Strategy]] = {}
    for candidate in strategies_of(arguments.config):
        groups.setdefault(name_of(candidate), []).append(candidate)
    chosen: dict[str, Strategy] = {}
    print("| strategy | candidate | accuracy | minus the file's own | splits | |\n|---|---|---|---|---|---|")
    for name, candidates in groups.items():
        there = [candidate for candidate in candidates if candidate["name"] in known]
        if not there:
            continue
        splits = sorted(set.intersection(*(set(known[candidate["name"]]) for candidate in there)))
        values = {
            one["name"]: np.array([100 * known[one["name"]][split] for split in splits]) for one in there
        }
        best = max(there, key=lambda candidate: values[candidate["name"]].mean())
        chosen[name] = best
        for candidate in there:
            difference = values[candidate["name"]] - values[there[0]["name"]]
            error = difference.std(ddof=1) / len(splits) ** 0.5
            print(
                f"| {name} | {changes_of(candidates[0], candidate)} | {values[candidate['name']].mean():.1f} "
                f"| {difference.mean():+.1f} ± {error:.1f} | {len(splits)} | {'←' if candidate is best else ''} |"
            )
    document = yaml.safe_load(Path(arguments.base).read_text(encoding="utf-8"))
    own = {strategy["name"]: strategy for strategy in strategies_of(arguments.base)}
    document["compare"]["strategies"] = [taken(strategy, chosen, own) for strategy in own.values()]
    Path(arguments.out).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def changes_of(own: Strategy, candidate: Strategy) -> str:
    """What a candidate has that the file has not."""
    changes = [
        f"{section}.{key}: {value}"
        for section in SECTIONS
        for key, value in candidate[section].items()
        if own[section].get(key) != value
    ]
    return ", ".join(changes) or "as in the file"


def taken(strategy: Strategy, chosen: dict[str, Strategy], own: dict[str, Strategy]) -> Strategy:
    """A strategy with what was chosen for it, or for the one that it follows."""
    name = strategy["name"]
    if name in chosen:
        return chosen[name] | {"name": name}
    model = strategy["chosen"].removeprefix(AS) if strategy["chosen"].startswith(AS) else None
    if model not in chosen:
        return strategy
    won = {
        section: {
            key: value
            for key, value in chosen[model][section].items()
            if own[model][section].get(key) != value
        }
        for section in SECTIONS
    }
    # What sets this strategy apart stays: the keys in which it differs from its model.
    apart = {
        section: {
            key: value for key, value in strategy[section].items() if own[model][section].get(key) != value
        }
        for section in SECTIONS
    }
    return merged(merged(strategy, won), apart)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    planner = commands.add_parser("plan", help="write the configuration with all candidates")
    planner.add_argument("config")
    planner.add_argument("--seed", type=int, default=100)
    planner.add_argument("--seeds", type=int, default=2)
    planner.add_argument(
        "--shots", type=lambda text: [int(part) for part in text.split(",")], default=[8, 32]
    )
    planner.add_argument("--out", required=True)
    chooser = commands.add_parser("choose", help="print the table and write the configuration with the best")
    chooser.add_argument("config")
    chooser.add_argument("--run", required=True)
    chooser.add_argument("--base", required=True)
    chooser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    {"plan": plan, "choose": choose}[arguments.command](arguments)


if __name__ == "__main__":
    main()
