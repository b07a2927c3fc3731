"""Do scores of rows predict what rows do to a head on frozen features? Linear datamodelling scores without chance.

    python studies/row_labels.py features features.npz
    python studies/row_fidelity.py features.npz --seeds 6 --csv studies/data/row-fidelity.csv

The training is a logistic regression on the shots and one half of a source with 20 % wrong labels, which ends at its
minimum: two trainings of a half are the same, unlike those of row_choice.py. A score is judged by the rank correlation,
over 100 halves, of what the half's rows sum to with minus the mean loss of the target's other rows. *TRAK* and the
*influence function* are exact here: this is the model that they are made for. Features as in row_labels.py.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from row_labels import flipped, vectors
from scipy import stats
from sklearn.linear_model import LogisticRegression

from sgg_ray.rows import ROW_RANKINGS, Candidates
from sgg_ray.scoring import score_rows
from sgg_ray.scoring.head_rows import HeadPool

SOURCES = {"reviews": "products", "products": "reviews", "drugs": "reviews"}  # target: source
SHOTS, HALVES, FLIPPED = 16, 100, 0.2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    data = np.load(arguments.features)
    lines = [
        line for seed in range(arguments.seeds) for target in SOURCES for line in judge(data, target, seed)
    ]
    frame = pd.DataFrame(lines)
    if arguments.csv:
        frame.round(4).to_csv(arguments.csv, index=False)
    print(frame.pivot_table(index="scores", columns="task", values="lds").round(3))
    cells = frame.groupby(["scores", "seed"])["lds"].mean().unstack()
    for name, own in cells.iterrows():
        test = stats.ttest_rel(cells.loc["influence"], own) if name != "influence" else None
        print(
            f"{name}: {own.mean():.3f}" + (f", paired with influence p = {test.pvalue:.2g}" if test else "")
        )


def judge(data, target: str, seed: int):
    """One line a way of scoring."""
    source, random = SOURCES[target], np.random.default_rng([seed, 23])
    labels = data[f"{target}/y"]
    own = [random.permutation(np.flatnonzero(labels == value)) for value in np.unique(labels)]
    shots = np.concatenate([rows[:SHOTS] for rows in own])
    test = np.concatenate([rows[SHOTS:] for rows in own])
    given, wrong = flipped(data, source, FLIPPED, seed)
    pool = [
        vectors(data, target, labels[shots], "target", shots),
        vectors(data, source, given, "source", slice(0, len(given))),
    ]
    x, y = unit(data[f"{source}/x"][: len(given)]), given
    few, few_y = unit(data[f"{target}/x"][shots]), labels[shots]
    many, many_y = unit(data[f"{target}/x"][test]), labels[test]
    halves = np.zeros((HALVES, len(y)))
    losses = np.empty(HALVES)
    for number in range(HALVES):
        chosen = random.permutation(len(y))[: len(y) // 2]
        halves[number, chosen] = 1
        model = trained(np.concatenate([few, x[chosen]]), np.concatenate([few_y, y[chosen]]))
        losses[number] = -model.predict_log_proba(many)[np.arange(len(many)), many_y].mean()
    for name, score in scores_of(pool, x, y, few, few_y, wrong, seed).items():
        lds = stats.spearmanr(halves @ score, -losses).statistic
        yield {"task": target, "seed": seed, "scores": name, "lds": float(lds)}


def scores_of(pool, x, y, few, few_y, wrong, seed) -> dict[str, np.ndarray]:
    found = score_rows(pool[0], pool[1:], {pool[1].task.name: 1.0}, share_labels=True)[pool[1].task.name]
    heads = HeadPool(pool[0], pool[1:], True)
    seen = Candidates(
        pool[1].vectors, y, pool[0].vectors, found.alignment, lambda: heads.shot_cosines(pool[1]), seed
    )
    model = trained(np.concatenate([few, x]), np.concatenate([few_y, y]))
    mine, theirs = gradients(model, x, y), gradients(model, few, few_y)
    chance = model.predict_proba(x)[:, 1]
    curvature = (bias(x) * (chance * (1 - chance))[:, None]).T @ bias(x) + np.eye(x.shape[1] + 1)
    mean = theirs.mean(axis=0)
    projected = bias(x)
    gram = projected.T @ projected + 1e-3 * np.eye(x.shape[1] + 1)
    return {
        "influence": found.influence,
        "cosine (at a zero head)": found.alignment,
        "cosine (at the trained head)": mine @ mean / np.linalg.norm(mine, axis=1),
        "TRAK": mine @ np.linalg.solve(gram, mean),
        "influence function": mine @ np.linalg.solve(curvature, mean),
        "probability of the label": 1 - found.wrong,
        "is the label right": (~wrong).astype(float),
        **{name: ROW_RANKINGS[name](seen).score for name in ("loss", "neighbours", "confident", "random")},
    }


def trained(x: np.ndarray, y: np.ndarray) -> LogisticRegression:
    return LogisticRegression(max_iter=1000).fit(x, y)


def gradients(model: LogisticRegression, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradients of the rows' losses at two classes' weights and bias [n, H + 1]."""
    return (model.predict_proba(x)[:, 1] - y)[:, None] * bias(x)


def bias(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def unit(x: np.ndarray) -> np.ndarray:
    """Of length 1, on which logistic regression does best here (row_labels.py)."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
