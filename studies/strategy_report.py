"""What rules of choice come to: regret, comparisons and poisoned pools, from what strategies.py left.

    python studies/strategy_report.py FOLDER --csv studies/data/strategies.csv

The regret of a (task, shots) is the accuracy of the best single strategy, in hindsight and by its mean over the seeds,
less the rule's. With few seeds that best is partly luck: ``--csv`` keeps every accuracy.
"""

import argparse
import csv
import lzma
import pickle
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

SINGLE = ("full", "linear-probe", "lora", "sam", "sgg-target", "multitask", "sgg")
SHARING = {
    "films",
    "reviews",
    "tweets",
    "tweets-3way",
    "drugs",
    "products",
    "mail",
}  # their labels are a source's, too

Cell = dict[str, Any]
Group = tuple[str, int]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    values = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)


def accuracy(predicted: np.ndarray, cell: Cell) -> float:
    """Of the test rows, in %."""
    return 100 * float((predicted.argmax(1) == cell["labels"]).mean())


def utility(cell: Cell, pool: str) -> float:
    """Sum of the sources' positive utilities."""
    return sum(max(0.0, score["utility"]) for score in cell["scores"][pool].values() if score)


def ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))


def first_rule(cell: Cell, pool: str) -> tuple[float, float, float]:
    """Of sgg, sgg with names and a tenth of the mixture, and full fine-tuning: chosen on the development half."""
    sources = ramp(np.log(max(utility(cell, pool), 1e-3)), np.log(0.02), np.log(0.1))
    names = ramp(cell["steepness"], 0.2, 0.8)
    return max(sources, 0.3), max(names, sources), (1 - sources) * (1 - names)


def second_rule(cell: Cell, pool: str) -> tuple[float, float, float]:
    """The same, but sources that train the target's own head count whatever the size of their utility."""
    if cell["task"] not in SHARING or utility(cell, pool) <= 0:
        return first_rule(cell, pool)
    return 1.0, 1.0, 0.0


Rule = Callable[[Cell, str], tuple[float, float, float]]


def blend(cell: Cell, rule: Rule, pool: str = "clean") -> np.ndarray:
    """Weighted mean of the members' probabilities."""
    end = "" if pool == "clean" else f" {pool}"
    members = (f"sgg{end}", f"sgg-0.1{end}", "full")
    return sum(
        weight * probabilities(cell["logits"][name]) for weight, name in zip(rule(cell, pool), members)
    )


def accuracies(cells: list[Cell]) -> dict[str, dict[tuple[str, int, int], float]]:
    """By strategy or rule, then by task, shots and seed."""
    found: dict[str, dict[tuple[str, int, int], float]] = defaultdict(dict)
    for cell in cells:
        place = cell["task"], cell["shots"], cell["seed"]
        for name, logits in cell["logits"].items():
            if logits.ndim == 2 and len(logits) == len(cell["labels"]) and "fold" not in name:
                found[name][place] = accuracy(logits, cell)
        for name, rule in (("first rule", first_rule), ("second rule", second_rule)):
            for pool in ("clean", "poisoned", "oracle"):
                if pool in cell["scores"] and f"sgg-0.1 {pool}".removesuffix(" clean") in cell["logits"]:
                    end = "" if pool == "clean" else f" {pool}"
                    found[name + end][place] = accuracy(blend(cell, rule, pool), cell)
    return found


def regrets(found: Mapping[str, Mapping], name: str) -> dict[Group, float]:
    """By task and shots."""
    means: dict[str, dict[Group, list[float]]] = defaultdict(lambda: defaultdict(list))
    for strategy in (*SINGLE, name):
        for (task, shots, _), value in found[strategy].items():
            means[strategy][task, shots].append(value)
    return {
        group: max(float(np.mean(means[strategy][group])) for strategy in SINGLE) - float(np.mean(values))
        for group, values in means[name].items()
    }


def compare(found: Mapping[str, Mapping], name: str, other: str) -> str:
    """Difference over all splits, and Wilcoxon's test over the means of each task and seed."""
    pairs: dict[tuple[str, int], list[float]] = defaultdict(list)
    for place, value in found[name].items():
        pairs[place[0], place[2]].append(value - found[other][place])
    means = [float(np.mean(values)) for values in pairs.values()]
    everything = np.concatenate(list(pairs.values()))
    test = stats.wilcoxon(means)
    return f"{everything.mean():+.2f}, p = {test.pvalue:.1g} over {len(means)} tasks × seeds"


def show(cells: list[Cell]) -> None:
    found = accuracies(cells)
    print(f"{len(cells)} splits; regret in points over (task, shots)")
    for name in (*SINGLE, "sgg-0.1", "first rule", "second rule"):
        values = regrets(found, name)
        worst = max(values, key=lambda group: values[group])
        print(f"  {name:14} mean {np.mean(list(values.values())):5.2f}  worst {values[worst]:5.1f} {worst}")
    for name in ("first rule", "second rule"):
        for other in SINGLE:
            print(f"  {name} minus {other:14} {compare(found, name, other)}")
    for name in ("first rule", "second rule"):
        for other in (f"{name} oracle", "sgg oracle", "multitask poisoned"):
            if f"{name} poisoned" in found and other in found:
                print(f"  {name} poisoned minus {other:20} {compare(found, f'{name} poisoned', other)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path, help="keep every accuracy")
    arguments = parser.parse_args()
    cells = []
    for path in sorted(arguments.folder.glob("cells-*.pkl.xz")):
        with lzma.open(path) as file:
            cells += pickle.load(file)
    show(cells)
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("strategy", "task", "shots", "seed", "accuracy"))
            for name, values in sorted(accuracies(cells).items()):
                writer.writerows((name, *place, f"{value:.2f}") for place, value in sorted(values.items()))


if __name__ == "__main__":
    main()
