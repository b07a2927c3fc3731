"""Tables from the cells of language_models.py, or from what was kept of them.

    python studies/language_model_report.py FOLDER --keep studies/data
    python studies/language_model_report.py studies/data

Differences are paired by split and averaged over the numbers of shots: one value for each task and seed. Those are
tested with Wilcoxon's signed-rank test, and with Student's t over the means by task, whose rows are other texts; Holm
corrects for the strategies of a table.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from language_model_cells import BINS, SPLIT, measure_names, read
from scipy.stats import spearmanr, ttest_1samp, wilcoxon

SENTIMENT = {"films", "reviews", "tweets", "tweets-3way", "drugs", "products"}
WRONG = {"reviews", "tweets", "products", "news"}
ONE, NONE = "only ", "no source"
ALONE = {"lora", "lora-twice", "sgg-target", "target-terms-off", "t-few"}  # use no sources
PAIRS = (
    ("sgg-target", "target-terms-off"),
    ("sgg-target", "lora"),
    ("sgg-terms", "sgg-terms-off"),
    ("sgg-terms", "lora"),
    ("sgg-terms", "multitask"),
    ("multitask", "lora"),
)
EPISODES_RATE = "ahead 0.3 0.001"  # the variant of the second search that episodes were added to


def wide(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """One row a split, one column a strategy and pool."""
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


def compare(found: pd.Series, scale: float = 1.0) -> dict[str, float]:
    """Mean, standard error and p-values of differences by task and seed."""
    tasks = found.groupby(level="task").mean()
    return {
        "n": len(found),
        "difference": scale * found.mean(),
        "error": scale * found.std(ddof=1) / np.sqrt(len(found)),
        "p": wilcoxon(found).pvalue if found.abs().max() > 0 else 1.0,
        "p by task": ttest_1samp(tasks, 0.0).pvalue if len(tasks) > 2 else np.nan,
    }


def compared(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """``reference`` minus each other strategy in the same pool, and on the target alone, in points."""
    pool = reference.partition(", ")[2]
    rows = []
    for name in table.columns.drop(reference):
        base, _, own = name.partition(", ")
        if own != pool and base not in ALONE:
            continue
        found = differences(table, reference, name)
        if len(found) > 4 and found.abs().max() > 0:  # else it is the same training under another name
            by = (table[reference] - table[name]).dropna().groupby(level="shots").mean().mul(100).round(1)
            rows.append({"strategy": name, **compare(found, 100.0), "by shots": by.to_dict()})
    for row, corrected in zip(rows, holm([row["p"] for row in rows])):
        row["Holm"] = corrected
    return pd.DataFrame(rows)


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in % by number of shots, sd over seeds, and seconds of a training."""
    found = frame.pivot_table(index="name", columns="shots", values="accuracy").mul(100)
    found["sd over seeds"] = (
        frame.groupby(["name", "task", "shots"])["accuracy"].std(ddof=1).mul(100).groupby("name").mean()
    )
    found["splits"] = frame.groupby("name").size()
    found["seconds"] = frame.groupby("name")["seconds"].median()
    return found.sort_values("splits", ascending=False)


def effects(cells: pd.DataFrame) -> pd.DataFrame:
    """What each variant adds to a split's mean accuracy, by alternating means, since splits lack some variants."""
    cells = cells[(cells["pool"] == "clean") & ~cells["strategy"].str.startswith("weighting")]
    table = cells.pivot_table(index="strategy", columns=SPLIT, values="accuracy").mul(100)
    own = pd.Series(0.0, index=table.index)
    for _ in range(100):
        own = table.sub(table.sub(own, axis=0).mean()).mean(axis=1)
    return pd.DataFrame({"effect": own - own.mean(), "splits": table.count(axis=1)}).sort_values("effect")


def steadiness(frame: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Measures of two strategies on the same splits, gradients at equal training losses."""
    rows = []
    for measure in measure_names(frame):
        values = wide(frame, measure)
        if one in values and other in values:
            both = values[[one, other]].dropna()
            if len(both) > 5:
                found = compare(differences(both, one, other))
                means = {one: both[one].mean(), other: both[other].mean()}
                rows.append({"measure": measure, **means, **found})
    return pd.DataFrame(rows)


def spreads(frame: pd.DataFrame, one: str, other: str) -> dict[str, float]:
    """sd of the accuracy over seeds, by task and number of shots: means and the test of their difference."""
    chosen = frame[frame["name"].isin((one, other))]
    table = wide(chosen, "accuracy").dropna().mul(100)
    found = table.groupby(level=["task", "shots"]).std(ddof=1).dropna()
    gap = found[one] - found[other]
    p = wilcoxon(gap).pvalue if len(gap) > 4 else np.nan
    return {one: found[one].mean(), other: found[other].mean(), "n": len(found), "p": p}


def areas(scores: pd.DataFrame) -> pd.DataFrame:
    """AUROC of clean above flipped sources in poisoned pools: of all sources, and of those about sentiment alone for
    targets about sentiment, where a flipped source is known to harm."""
    rows = []
    for place, own in scores[scores["pool"] == "poisoned"].groupby([*SPLIT]):
        for kind, mask in (("all", [True] * len(own)), ("sentiment", own["source"].isin(SENTIMENT))):
            part = own[mask]
            wrong = part["source"].isin(WRONG).to_numpy()
            if (kind == "sentiment" and place[0] not in SENTIMENT) or wrong.all() or not wrong.any():
                continue
            clean, flipped = part["value"].to_numpy()[~wrong], part["value"].to_numpy()[wrong]
            gaps = clean[:, None] - flipped
            rows.append({"shots": place[1], "kind": kind, "area": np.mean((gaps > 0) + 0.5 * (gaps == 0))})
    frame = pd.DataFrame(rows)
    return frame.groupby(["kind", "shots"])["area"].agg(["mean", "min", "size"]).reset_index()


def ranks(frame: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of a source's score with the points that the target gains from it alone, by task."""
    cells = frame[frame["strategy"].str.startswith(ONE)].copy()
    none = frame[frame["strategy"] == NONE].set_index(SPLIT)["accuracy"]
    cells["gain"] = cells["accuracy"] - none.reindex(pd.MultiIndex.from_frame(cells[SPLIT])).to_numpy()
    cells["source"] = cells["strategy"].str.removeprefix(ONE)
    both = cells.merge(scores, on=[*SPLIT, "pool", "source"]).dropna(subset=["gain"])
    both = both.groupby(["task", "pool", "source"])[["gain", "value", "utility"]].mean().reset_index()
    found = [
        {
            "task": task,
            "sources": len(own),
            **{kind: spearmanr(own[kind], own["gain"]).statistic for kind in ("value", "utility")},
            "best": own.loc[own["gain"].idxmax(), "source"],
            "gain of the best": 100 * own["gain"].max(),
            "of the worst": 100 * own["gain"].min(),
        }
        for task, own in both.groupby("task")
    ]
    return pd.DataFrame(found)


def show(title: str, table: pd.DataFrame) -> None:
    """Print a table; its index only where it has a name."""
    print(f"\n{title}\n{table.round(5).to_string(index=table.index.name is not None)}")


def episodes(cells: pd.DataFrame, second: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Weights and term in the format of in-context learning minus the same without it, in points, by shots."""
    plain = second[second["strategy"] == f"sgg-terms | {EPISODES_RATE}"]
    halves = {
        "development": (cells[cells["strategy"] == "sgg-episodes"], plain),
        "report": (frame[frame["name"] == "sgg-episodes"], frame[frame["name"] == "sgg-terms"]),
    }
    rows = []
    for half, (one, other) in halves.items():
        both = one.merge(other, on=SPLIT, suffixes=("", " plain"))
        for shots, own in both.groupby("shots"):
            gap = 100 * (own["accuracy"] - own["accuracy plain"])
            error = gap.std(ddof=1) / np.sqrt(len(gap))
            row = {"half": half, "shots": shots, "n": len(gap), "difference": gap.mean(), "error": error}
            rows.append({**row, "p": wilcoxon(gap).pvalue, "above": int((gap > 0).sum())})
    return pd.DataFrame(rows)


def measured(frame: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Tables of a model's cells on the report half."""
    trained = frame[~frame["strategy"].str.startswith(ONE) & (frame["strategy"] != NONE)]
    if "copied" in trained:  # the same training under another name: with the same weights evidence is relu
        trained = trained[trained["copied"].isna()]
    show("accuracy, all cells", overview(trained))
    table = wide(trained, "accuracy")
    for base in ("sgg-terms", "sgg-terms-off", "sgg-weights", "sgg-target"):
        for name in [one for one in table if one.partition(", ")[0] == base]:
            show(f"{name} minus", compared(table, name))
    for one, other in PAIRS:
        show(f"{one} and {other}; gradients where the loss is in {BINS}", steadiness(trained, one, other))
    for one, other in (*PAIRS[:-1], ("sgg-terms, poisoned", "multitask, poisoned")):
        if {one, other} <= set(table):
            print("sd over seeds", spreads(trained, one, other))
    if (scores["pool"] == "poisoned").any():
        show("AUROC of clean above flipped sources", areas(scores))
        show("scores and gains of single sources", ranks(frame, scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the cells as CSV")
    arguments = parser.parse_args()
    stages = ("search", "second", "episodes", "measured", "gemma")
    cells = {stage: read(arguments.folder, stage, arguments.keep) for stage in stages}
    for stage in ("search", "second"):
        show(f"{stage}, accuracy in % above the mean of a split", effects(cells[stage][0]))
    show("episodes", episodes(*(cells[stage][0] for stage in ("episodes", "second", "measured"))))
    for stage in ("measured", "gemma"):
        print(f"\n== {stage}")
        measured(*cells[stage])


if __name__ == "__main__":
    main()
