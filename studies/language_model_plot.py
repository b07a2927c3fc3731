"""Accuracy against the seconds of a training, from what language_model_report.py kept.

python studies/language_model_plot.py studies/data docs/images/language-models.svg
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from language_model_cells import SPLIT, read
from matplotlib import ticker

INK = "#7f8790"  # readable on white and on black
SHOTS, FEWEST = (4, 16), 12  # shots of every seed, and splits of a strategy that is shown
POOLS = {"clean": ("o", "#2a78c8"), "poisoned": ("X", "#d1495b")}
OWN = "sgg-terms"
NAMES = {
    "sgg-terms": "sgg",
    "sgg-terms-off": "sgg without its term",
    "sgg-weights": "weights alone",
    "sgg-target": "lora with terms",
    "target-terms-off": "lora, rate 1e-3",
    "lora": "lora, rate 3e-4",
    "lora-twice": "lora, twice the steps",
    "sgg-episodes": "sgg-in-context",
}
# Where the names stand that would meet others, in points from their marks.
PLACES = {
    ("target-terms-off", "clean"): (7, -11),
    ("lora", "clean"): (7, 5),
    ("sgg-weights", "poisoned"): (7, -9),
}
PLACES |= {
    ("multitask", "clean"): (7, -8),
    ("lora-twice", "clean"): (7, 5),
    ("multitask", "poisoned"): (7, -9),
}


def means(folder: Path) -> dict[tuple[str, str], tuple[float, float, int]]:
    """Median seconds, accuracy in % and number of splits by strategy and pool.

    The accuracy is that of ``sgg`` in the clean pool over all splits at 4 and 16 shots, plus what the strategy has more
    on the splits that it was trained on.
    """
    frame, _ = read(folder, "measured")
    frame = frame[
        frame["pool"].isin(POOLS)
        & frame["shots"].isin(SHOTS)
        & ~frame["strategy"].str.contains("only |no source|evidence")
    ]
    table = frame.pivot_table(index=SPLIT, columns=["strategy", "pool"], values="accuracy")
    table = table.dropna(axis=1, thresh=FEWEST)
    own = table[OWN, "clean"]
    seconds = frame.groupby(["strategy", "pool"])["seconds"].median()
    return {
        key: (seconds[key], 100 * (own.mean() + (table[key] - own).mean()), int(table[key].count()))
        for key in table.columns
    }


def draw(found: dict[tuple[str, str], tuple[float, float, int]], out: Path) -> None:
    """One mark a strategy and pool; the file has no background."""
    plt.rcParams.update(
        {"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
        | {"axes.edgecolor": INK, "svg.fonttype": "none", "font.family": "sans-serif"}
    )
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for (strategy, pool), (seconds, accuracy, _) in found.items():
        marker, colour = POOLS[pool]
        own = strategy == OWN
        axes.plot(
            seconds, accuracy, marker, color=colour, ms=9 if own else 7, fillstyle="full" if own else "none"
        )
        name = NAMES.get(strategy, strategy)
        place = PLACES.get((strategy, pool), (7, 3))
        axes.annotate(name, (seconds, accuracy), xytext=place, textcoords="offset points", color=colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_xlabel("seconds of a training")
    axes.set_ylabel("accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=INK, alpha=0.2)
    for pool, (marker, colour) in POOLS.items():
        axes.plot(
            [], [], marker, color=colour, label=f"{pool} pool" if pool != "clean" else "clean pool, or none"
        )
    axes.set_xlim(4.5, 130)
    axes.legend(frameon=False, labelcolor=INK, loc="lower right")
    figure.savefig(out, transparent=True, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    found = means(arguments.folder)
    for key, values in sorted(found.items(), key=lambda item: -item[1][1]):
        print(*key, *(round(value, 1) for value in values))
    draw(found, arguments.out)


if __name__ == "__main__":
    main()
