"""Do texts without labels help? What strategy auto averages labels them, and a further model is trained on that.

    python studies/unlabelled.py pack --half report --seeds 6-8 --best studies/data/strategies-report.csv --out new.pkl
    python studies/unlabelled.py run new.pkl --model MODEL --processes 31 --out FOLDER
    python studies/unlabelled.py report FOLDER --csv studies/data/unlabelled-report.csv

The texts are rows of the target's file that are neither shots nor test rows, as they come: classes in the proportions
that they have there. The further model learns from the shots, and beside them from these rows as from a source.

``--best`` also trains the strategy that was best for a (task, shots) over other seeds. What auto lacks to it is a
regret without the luck of a best that is picked on the very seeds that it is measured on.
"""

import argparse
import csv
import lzma
import pickle
import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from strategies import FOLDS, OWN, Bench, Job, add_pack, add_run, base, logs, run, strategy
from strategy_report import SINGLE, accuracy, probabilities

from sgg_ray.alignment import mixture_strength, mixture_weights
from sgg_ray.tasks import Task, cross_validation_folds, without_texts
from sgg_ray.training import SingleProcess, predict, run_training
from sgg_ray.training.choice import choose

UNLABELLED_ROWS = 600
FOLDED_SHOTS = (8, 32)
COPIES = 4  # of a row whose label is drawn by its probabilities
STUDENTS = ("hard", "drawn", "confident")
OWN["student"] = {
    "guidance": {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 1.0},
    "train": {"share_labels": True, "learning_rate": 1e-4, "head_learning_rate": 1e-3},
}


class UnlabelledBench(Bench):
    """The members of auto's average on a split, and what is trained on the labels that they give to further rows."""

    def __init__(self, model: str, steps: int):
        super().__init__(model, steps, wide=False)

    def run(self, job: Job) -> Job:
        config, target = base(self.model, job["seed"], self.steps), job["target"]
        found: Job = {key: job[key] for key in ("task", "shots", "seed")}
        found |= {"labels": target.test.labels, "true": job["unlabelled"].labels, "logits": {}, "held": {}}
        found |= {"seconds": {}, "classes": len(target.labels), "steepness": self.steepness(config, target)}
        sources = job["pools"]["clean"]
        scores = self.score(config, target, sources)
        usable = [score for score in scores.values() if score and not score.opposes]
        found["strength"] = mixture_strength(usable)
        found["utility"] = sum(max(0.0, score.utility) for score in usable)
        choice = choose(found["strength"], found["steepness"], 3)
        found["shares"] = dict(choice.shares)
        weights = dict(zip(scores, mixture_weights(list(scores.values())).tolist()))
        for name in dict.fromkeys((*choice.shares, "full", *job.get("also", ()))):
            self.member(found, name, config, target, job["unlabelled"], sources, weights)
        labelled = sum(share * np.exp(found["held"][name]) for name, share in choice.shares.items())
        random = np.random.default_rng(job["seed"])
        for kind in job.get("students", STUDENTS):
            rows = pseudo_labelled(kind, job["unlabelled"], labelled, random)
            source = Task("unlabelled", target.labels, rows, rows.take([]), "source")
            self.member(found, kind, config, target, job["unlabelled"], [source], {"unlabelled": 1.0})
        if job.get("folds"):
            self.held_out(found, config, target, sources, weights)
        return found

    def held_out(self, found, config, target, sources, weights) -> None:
        """What the members and plain fine-tuning make of shots that they were not trained on, as a run decides by."""
        for number, fold in enumerate(cross_validation_folds(target, FOLDS, config.seed)):
            found["logits"][f"held {number}"] = fold.held
            apart = without_texts(sources, target.train.take(fold.held).texts)
            for name in dict.fromkeys((*found["shares"], "full")):
                own = strategy(config, name)
                given = (apart, weights) if own.guidance.lambda_source > 0 else ([], {})
                outcome = run_training(
                    own, fold.of(target), *given, self.device, foundation=self.foundation(own)
                )
                found["logits"][f"{name} fold {number}"] = logs(outcome.probabilities)

    def member(self, found, name, config, target, unlabelled, sources, weights) -> None:
        """Train a strategy; keep what it makes of the test rows and of the further rows."""
        own = strategy(config, "student" if name in STUDENTS else name)
        mixed = own.guidance.lambda_source > 0
        if name == "multitask":
            weights = dict.fromkeys(weights, 1 / len(weights))
        started = time.perf_counter()
        given = (sources, weights) if mixed else ([], {})
        outcome = run_training(own, target, *given, self.device, foundation=self.foundation(own))
        found["logits"][name] = logs(outcome.probabilities)
        tokens = outcome.model.tokenise(target, unlabelled)
        found["held"][name] = logs(predict(outcome.model, tokens, 128, SingleProcess())).astype(float)
        found["seconds"][name] = time.perf_counter() - started


def pseudo_labelled(kind: str, rows: Any, probabilities: np.ndarray, random: np.random.Generator) -> Any:
    """The rows with labels that a model gives them.

    ``hard``: each its likeliest one; ``confident``: so, but of each class only the surer half; ``drawn``: copies of
    each, with labels drawn by their probabilities.
    """
    likeliest = probabilities.argmax(1)
    if kind == "hard":
        return replace(rows, labels=likeliest)
    if kind == "confident":
        sure = probabilities.max(1)
        kept = [row for row in range(len(rows)) if sure[row] >= np.median(sure[likeliest == likeliest[row]])]
        return replace(rows.take(kept), labels=likeliest[kept])
    places = np.repeat(np.arange(len(rows)), COPIES)
    limits = np.cumsum(probabilities[places], axis=1)
    drawn = (random.random(len(places))[:, None] * limits[:, -1:] > limits).sum(1)
    return replace(rows.take(places), labels=drawn)


def pack(arguments: argparse.Namespace) -> None:
    """Splits as those of strategies.py, with further rows; the test rows are the same."""
    from suite.load import split, suite

    from sgg_ray.errors import DataError
    from sgg_ray.tasks import Reader

    reader, jobs = Reader(), []
    best = {} if arguments.best is None else best_of(arguments.best)
    for seed in arguments.seeds:
        for shots in arguments.shots:
            for entry in suite()[arguments.half]:
                try:
                    target, sources = split(entry["name"], shots, seed, reader)
                    further, _ = split(entry["name"], shots, seed, reader, rest=UNLABELLED_ROWS)
                except DataError as error:
                    print(error)
                    continue
                assert not set(target.test.texts) & set(further.test.texts)
                assert further.train.texts == target.train.texts
                place = {"task": entry["name"], "shots": shots, "seed": seed}
                rows = {"target": target, "pools": {"clean": sources}, "unlabelled": further.test}
                wanted = {"students": arguments.students, "folds": arguments.folds and shots in FOLDED_SHOTS}
                also = best.get((entry["name"], shots))
                jobs.append({**place, **rows, **wanted, "also": () if also is None else (also,)})
    with lzma.open(arguments.out, "wb", preset=1) as file:
        pickle.dump(jobs, file)
    print(f"{len(jobs)} splits in {arguments.out}, {arguments.out.stat().st_size / 2**20:.1f} MiB")


def best_of(path: Path) -> dict[tuple[str, int], str]:
    """The best single strategy of each (task, shots), by its mean over the seeds in a file of accuracies."""
    found: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["strategy"] in SINGLE:
                found[row["task"], int(row["shots"])][row["strategy"]].append(float(row["accuracy"]))
    return {place: max(own, key=lambda name: np.mean(own[name])) for place, own in found.items()}


def accuracies(cell: Job) -> dict[str, float]:
    """By strategy, by student, and of averages, in %."""
    kept = {
        name: probabilities(found)
        for name, found in cell["logits"].items()
        if found.ndim == 2 and "fold" not in name
    }
    kept["auto"] = sum(share * kept[name] for name, share in cell["shares"].items())
    kept |= {f"auto + {name}": kept["auto"] + kept[name] for name in STUDENTS if name in kept}
    return {name: accuracy(found, cell) for name, found in kept.items()}


def report(arguments: argparse.Namespace) -> None:
    """Differences to auto without further rows, and regrets."""
    cells = []
    for path in sorted(arguments.folder.glob("cells-*.pkl.xz")):
        with lzma.open(path) as file:
            cells += pickle.load(file)
    found = {(cell["task"], cell["shots"], cell["seed"]): accuracies(cell) for cell in cells}
    names = [name for name in next(iter(found.values())) if all(name in own for own in found.values())]
    for name in names:
        pairs: dict[tuple[str, int], list[float]] = defaultdict(list)
        for (task, _, seed), own in found.items():
            pairs[task, seed].append(own[name] - own["auto"])
        means = [float(np.mean(values)) for values in pairs.values()]
        error = np.std(means, ddof=1) / len(means) ** 0.5
        line = f"{name:18} minus auto {np.mean(means):+.2f} ± {error:.2f}"
        print(
            line if name == "auto" else f"{line}, p = {stats.wilcoxon(means).pvalue:.1g}, {len(found)} splits"
        )
    if arguments.best:
        best = best_of(arguments.best)
        for name in names:
            print(f"{name:18} {regret(found, best, name)}")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("strategy", "task", "shots", "seed", "accuracy"))
            for place, own in sorted(found.items()):
                writer.writerows((name, *place, f"{value:.2f}") for name, value in sorted(own.items()))


def regret(found: dict, best: dict[tuple[str, int], str], name: str) -> str:
    """Of a strategy, against the one that is best for its (task, shots) over other seeds."""
    by_group: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (task, shots, _), own in found.items():
        by_group[task, shots].append(own[best[task, shots]] - own[name])
    means = {group: float(np.mean(values)) for group, values in by_group.items()}
    worst = max(means, key=lambda group: means[group])
    many = sum(value > 1 for value in means.values())
    mean = np.mean(list(means.values()))
    return f"regret {mean:+.2f}, worst {means[worst]:.1f} {worst}, above 1: {many} of {len(means)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packer = add_pack(commands)
    packer.add_argument("--half", choices=("development", "report"), required=True)
    packer.add_argument("--shots", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    packer.add_argument("--students", nargs="*", choices=STUDENTS, default=["hard"])
    packer.add_argument(
        "--folds", action="store_true", help="also what held-out shots say, at 8 and 32 shots"
    )
    packer.add_argument(
        "--best", type=Path, help="accuracies of other seeds, to train the best strategy of each"
    )
    add_run(commands)
    reporter = commands.add_parser("report")
    reporter.add_argument("folder", type=Path)
    reporter.add_argument(
        "--best", type=Path, help="as for pack: regret against the best strategy of other seeds"
    )
    reporter.add_argument("--csv", type=Path, help="keep every accuracy")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments)
    elif arguments.command == "report":
        report(arguments)
    else:
        run(arguments, partial(UnlabelledBench, arguments.model, arguments.steps))


if __name__ == "__main__":
    main()
