"""Tables from the cells of language_models.py, or from what was kept of them.

    python studies/language_model_report.py FOLDER --keep studies/data
    python studies/language_model_report.py studies/data

Differences are paired by split and averaged over the numbers of shots: one value for each task and seed. Those are
tested with Wilcoxon's signed-rank test, and with Student's t over the means by task, whose rows are other texts; Holm
corrects for the strategies of a table.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp, wilcoxon

POISONED, KEPT = ", poisoned", "language-models-{}.csv"
SPLIT = ["task", "shots", "seed"]
SENTIMENT = {"films", "reviews", "tweets", "tweets-3way", "drugs", "products"}
MEASURES = ("step_cosine", "norm_variation", "distance", "sharpness", "shot_loss", "seconds")


def cells_of(folder: Path, stage: str) -> tuple[pd.DataFrame, list[dict]]:
    """Trained cells of ``search`` or ``measured``, and the scores of the pools."""
    kept, lines = folder / KEPT.format(stage), []
    if kept.exists():
        frame = pd.read_csv(kept)
    else:
        lines = [json.loads(line) for line in (folder / f"{stage}.jsonl").open()]
        frame = pd.DataFrame([line for line in lines if "accuracy" in line]).drop(columns="shares").round(5)
    frame["name"] = frame["strategy"] + frame["pool"].map(lambda pool: "" if pool == "clean" else POISONED)
    return frame.drop_duplicates([*SPLIT, "name"]), [line for line in lines if "scores" in line]


def wide(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """One row a split, one column a strategy."""
    return frame.pivot_table(index=SPLIT, columns="name", values=value)


def differences(table: pd.DataFrame, one: str, other: str) -> pd.Series:
    """``one`` minus ``other`` by task and seed, the mean over the numbers of shots that both have."""
    return (table[one] - table[other]).dropna().groupby(level=["task", "seed"]).mean()


def holm(values: list[float]) -> list[float]:
    """Corrected p-values."""
    order, found, most = np.argsort(values), [1.0] * len(values), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(values) - rank) * values[place]))
        found[place] = most
    return found


def compared(table: pd.DataFrame, reference: str, scale: float = 100.0) -> pd.DataFrame:
    """``reference`` minus each other strategy in the same pool, and on the target alone."""
    rows = []
    poisoned = reference.endswith(POISONED)
    for name in table.columns.drop(reference):
        own = name.endswith(POISONED) or f"{name}{POISONED}" not in table.columns
        if not (own if poisoned else not name.endswith(POISONED)):
            continue
        found = differences(table, reference, name)
        if len(found) < 5:
            continue
        tasks = found.groupby(level="task").mean()
        rows.append(
            {
                "strategy": name,
                "n": len(found),
                "difference": scale * found.mean(),
                "standard error": scale * found.std(ddof=1) / np.sqrt(len(found)),
                "p": wilcoxon(found).pvalue if found.abs().max() > 0 else 1.0,
                "p by task": ttest_1samp(tasks, 0.0).pvalue if len(tasks) > 2 else np.nan,
            }
        )
    if rows:
        for row, corrected in zip(rows, holm([row["p"] for row in rows])):
            row["Holm"] = corrected
    return pd.DataFrame(rows)


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in % by number of shots, sd over seeds, and seconds of a training."""
    found = frame.pivot_table(index="name", columns="shots", values="accuracy").mul(100)
    by = frame.groupby(["name", "task", "shots"])["accuracy"]
    found["mean"] = found.mean(axis=1)
    found["sd over seeds"] = by.std(ddof=1).mul(100).groupby("name").mean()
    found["splits"] = frame.groupby("name").size()
    found["seconds"] = frame.groupby("name")["seconds"].median()
    return found.sort_values("mean", ascending=False)


def areas(scores: list[dict], wrong: tuple[str, ...]) -> dict[str, float]:
    """AUROC of clean above flipped sources in poisoned pools: of all sources, and of those about sentiment alone for
    targets about sentiment, where a flipped source is known to harm."""
    found: dict[str, list[float]] = {"all": [], "sentiment": []}
    for line in scores:
        if line["pool"] == "clean":
            continue
        values = {name: value for name, value in line["scores"]["values"].items() if value is not None}
        for kind, names in (
            ("all", set(values)),
            ("sentiment", SENTIMENT if line["task"] in SENTIMENT else set()),
        ):
            flipped = [value for name, value in values.items() if name in names and name in wrong]
            clean = [value for name, value in values.items() if name in names and name not in wrong]
            if flipped and clean:
                pairs = [(own > other) + 0.5 * (own == other) for own in clean for other in flipped]
                found[kind].append(float(np.mean(pairs)))
    return {kind: float(np.mean(own)) for kind, own in found.items() if own}


def show(title: str, table: pd.DataFrame) -> None:
    """Print a table; its index only where it has a name."""
    print(f"\n{title}\n{table.round(3).to_string(index=table.index.name is not None)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the cells as CSV")
    arguments = parser.parse_args()
    searched, _ = cells_of(arguments.folder, "search")
    frame, scores = cells_of(arguments.folder, "measured")
    if arguments.keep:
        for stage, cells in (("search", searched), ("measured", frame)):
            cells.drop(columns="name").to_csv(arguments.keep / KEPT.format(stage), index=False)
    found = searched.pivot_table(index="strategy", columns=["task", "seed"], values="accuracy")
    show("search, accuracy on development tasks", found.mul(100))
    show("accuracy, all cells", overview(frame))
    table = wide(frame, "accuracy")
    for reference in (
        "sgg",
        "sgg-without-terms",
        "terms-at-lora",
        "sgg, poisoned",
        "sgg-without-terms, poisoned",
        "sgg-in-context, poisoned",
    ):
        if reference in table:
            show(f"{reference} minus", compared(table, reference))
    for one, other in (
        ("terms-at-lora", "lora"),
        ("sgg", "sgg-without-terms"),
        ("sgg, poisoned", "sgg-without-terms, poisoned"),
    ):
        rows = []
        for measure in MEASURES:
            values = wide(frame, measure)
            if one in values and other in values:
                found = differences(values, one, other)
                both = values[[one, other]].dropna().mean()
                p = wilcoxon(found).pvalue if len(found) > 4 and found.abs().max() > 0 else np.nan
                rows.append({"measure": measure, one: both[one], other: both[other], "n": len(found), "p": p})
        show(f"{one} and {other}", pd.DataFrame(rows))
    if scores:
        print(
            "\nAUROC of clean above flipped sources", areas(scores, ("reviews", "tweets", "products", "news"))
        )


if __name__ == "__main__":
    main()
