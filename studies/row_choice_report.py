"""What training on chosen rows came to, from what row_choice.py left.

    python studies/row_choice_report.py FOLDER --csv studies/data/row-choice.csv --lds studies/data/row-lds.csv

Intervals are bootstraps over (task, seed), each a mean over its numbers of shots.
"""

import argparse
import lzma
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

CLEAN = "all 0.0"
DRAWS, LEVEL = 10_000, 0.95

Cell = dict[str, Any]


def read(folder: Path) -> list[Cell]:
    found: list[Cell] = []
    for path in sorted(folder.glob("cells-*.pkl.xz")):
        with lzma.open(path) as file:
            found += pickle.load(file)
    return found


def accuracies(cells: list[Cell]) -> pd.DataFrame:
    """One line a training of the first two kinds of jobs: accuracy in %, rows left, and how many of them are marked:
    wrong ones, or useful ones of a mixed source."""
    lines = []
    for cell in cells:
        for name, logits in cell["logits"].items():
            if cell["kind"] == "halves":
                continue
            left, marked = cell["rows"].get(name, (np.nan, np.nan))
            right = float((logits.astype(float).argmax(1) == cell["labels"]).mean())
            lines.append(
                {
                    **{key: cell[key] for key in ("kind", "task", "shots", "seed")},
                    "rows": name,
                    "accuracy": round(100 * right, 2),
                    "left": left,
                    "marked": marked,
                }
            )
    return pd.DataFrame(lines).sort_values(["kind", "task", "shots", "seed", "rows"], ignore_index=True)


def units(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy over the shots of each (task, seed), by what was trained on."""
    return frame.pivot_table(index=["task", "seed"], columns="rows", values="accuracy")


def interval(values: np.ndarray, statistic) -> tuple[float, float, float]:
    """A statistic of the mean of ``values`` [n, k], and its bootstrap interval."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(values), (DRAWS, len(values)))
    found = statistic(values[drawn].mean(axis=1).T)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(statistic(values.mean(axis=0))), float(low), float(high)


def share(table: pd.DataFrame, name: str, floor: str) -> str:
    """(mean − floor) / (clean − floor), of sums over the units."""
    values = table[[name, floor, CLEAN]].dropna().to_numpy()
    found = interval(values, lambda mean: (mean[0] - mean[1]) / (mean[2] - mean[1]))
    return "{:.0%} [{:.0%}, {:.0%}]".format(*found)


def difference(table: pd.DataFrame, name: str, other: str) -> str:
    pairs = table[[name, other]].dropna()
    gaps = (pairs[name] - pairs[other]).to_numpy()
    found = interval(gaps[:, None], lambda mean: mean[0])
    p = stats.wilcoxon(gaps).pvalue if np.any(gaps) else 1.0
    return "{:+.2f} [{:+.2f}, {:+.2f}], p = {:.2g}".format(*found, p)


def print_labels(frame: pd.DataFrame) -> None:
    dirty = frame[frame.groupby(["task"])["rows"].transform(lambda rows: (rows == "all 0.4").any())]
    whole = units(dirty)
    means = dirty.pivot_table(index="rows", columns="task", values="accuracy")
    means["mean"] = whole.mean()
    counts = dirty.groupby("rows")[["left", "marked"]].mean()
    print(means.join(counts).round(1))
    print(f"{len(whole)} units")
    for wrong in ("0.2", "0.4"):
        floor = f"all {wrong}"
        print(
            f"flipped {wrong}: all rows keep {share(whole, floor, 'target only')} of the clean sources' gain"
        )
        for name in ("keep", "soft", "cleanlab", "loss", "random", "right"):
            own = f"{name} {wrong}"
            print(
                f"  {name:9} of the gain {share(whole, own, 'target only')}, of the loss {share(whole, own, floor)}; "
                f"to all rows {difference(whole, own, floor)}"
            )
        for name in ("cleanlab", "loss", "random", "soft"):
            print(f"  keep − {name}: {difference(whole, f'keep {wrong}', f'{name} {wrong}')}")
        for shots, part in dirty.groupby("shots"):
            table = units(part)
            print(
                f"  {shots} shots: keep {share(table, f'keep {wrong}', 'target only')} of the gain, all rows "
                f"{share(table, floor, 'target only')}"
            )
    every = units(frame)
    print(f"clean pools, {len(every)} units of {every.index.get_level_values(0).nunique()} tasks")
    for name in ("keep 0.0", "soft 0.0"):
        print(f"  {name} − all: {difference(every, name, CLEAN)}; by task")
        print((every[name] - every[CLEAN]).groupby("task").mean().round(2).to_dict())


def print_mixed(frame: pd.DataFrame) -> None:
    table = units(frame)
    counts = frame.groupby("rows")[["left", "marked"]].mean()
    means = frame.pivot_table(index="rows", columns="task", values="accuracy")
    means["mean"] = table.mean()
    print(means.join(counts).round(1))
    for part in ("0.05", "0.1", "0.2"):
        for name in ("influence", "cosine", "neighbours", "round_robin"):
            own = f"{name} {part}"
            print(
                f"{own:17} to all {difference(table, own, 'all')}; to random "
                f"{difference(table, own, f'random {part}')}"
            )
    print(f"useful rows alone, to all: {difference(table, 'useful', 'all')}")


def lds(cells: list[Cell]) -> pd.DataFrame:
    """One line a task and way to score rows: rank correlation of what a half's rows sum to with minus its test loss."""
    lines = []
    for task in sorted({cell["task"] for cell in cells if cell["kind"] == "halves"}):
        own = [cell for cell in cells if cell["kind"] == "halves" and cell["task"] == task]
        scores = next((cell["scores"] for cell in own if "scores" in cell), None)
        if scores is None:
            continue
        rows = len(scores["wrong"])
        halves, losses = [], []
        for cell in own:
            right = np.arange(len(cell["labels"])), cell["labels"]
            for number, packed in cell["halves"].items():
                halves.append(np.unpackbits(packed)[:rows].astype(float))
                losses.append([-cell["logits"][f"{number} {again}"].astype(float)[right] for again in (0, 1)])
        sums, found = np.stack(halves), np.array(losses)  # [halves, n], [halves, 2, test rows]
        whole = found.mean(axis=(1, 2))
        place = {"task": task, "halves": len(sums)}
        repeated = float(stats.spearmanr(*found.mean(axis=2).T).statistic)
        lines.append({**place, "scores": "the other training", "lds": repeated, "by_row": np.nan})
        for name, score in scores.items():
            score = -score.astype(float) if name == "wrong" else score
            mine = sums @ score
            by_row = [stats.spearmanr(mine, -own).statistic for own in found.mean(axis=1).T]
            one = float(stats.spearmanr(mine, -whole).statistic)
            label = "rows that are right" if name == "wrong" else name
            lines.append({**place, "scores": label, "lds": one, "by_row": float(np.nanmean(by_row))})
    return pd.DataFrame(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--lds", type=Path)
    arguments = parser.parse_args()
    pd.set_option("display.width", 200, "display.max_rows", 200, "display.max_columns", 30)
    cells = read(arguments.folder)
    frame, fidelity = accuracies(cells), lds(cells)
    if arguments.csv:
        frame.to_csv(arguments.csv, index=False)
    if arguments.lds:
        fidelity.round(4).to_csv(arguments.lds, index=False)
    for kind, show in (("labels", print_labels), ("mixed", print_mixed)):
        if (frame["kind"] == kind).any():
            show(frame[frame["kind"] == kind])
    if len(fidelity):
        table = fidelity.pivot_table(index="scores", columns="task", values=["lds", "by_row"])
        print(table.round(3))
        print(fidelity.groupby("scores")[["lds", "by_row"]].mean().round(3))


if __name__ == "__main__":
    main()
