"""Which rule for dropping rows? Rules that were tried on the development half of the suite before one was taken.

    python studies/row_rules.py pack --seeds 100-101 --out rules.pkl
    python studies/row_rules.py run rules.pkl --model MODEL --processes 32 --seconds 200 --out FOLDER
    python studies/row_rules.py report FOLDER

Jobs are those of row_choice.py, of other targets, with 40 % wrong labels or none. What the rules came to is in
studies/log.md.
"""

import argparse
import lzma
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from row_choice import NAME, RowBench, count, with_labels
from row_choice_report import accuracies, read
from row_jobs import SHOTS, label_job
from strategies import Job, add_pack, add_run, base, run, strategy

from sgg_ray.models import build_model
from sgg_ray.rows import suspects
from sgg_ray.scoring import mixture, score_pool, vectors_of
from sgg_ray.scoring.row_scores import TaskRows

TARGETS = ("films", "tweets", "messages", "science")
SHARES = (0.0, 0.4)


class RuleBench(RowBench):
    """All rows, the right ones, and what each rule leaves or relabels."""

    def run(self, job: Job) -> Job:
        config, target = strategy(base(self.model, job["seed"], self.steps), NAME), job["target"]
        found: Job = {key: job[key] for key in ("kind", "task", "shots", "seed")}
        found |= {"labels": target.test.labels, "logits": {}, "rows": {}}
        self.fit(found, "target only", config, target, [], {})
        model = build_model(config, [target], self.foundation(config)).to(self.device)
        plain = [vectors_of(model, task, config.seed) for task in (target, *job["sources"])]
        for share, given in job["given"].items():
            sources = [with_labels(task, given[task.name]) for task in job["sources"]]
            scores = self.score(config, target, sources)
            self.fit(found, f"all {share}", config, target, sources, mixture(scores))
            if not share:
                continue
            vectors = [plain[0], *(replace(own, task=task) for own, task in zip(plain[1:], sources))]
            rows = score_pool(model, vectors, scores, config.alignment, share_labels=True, seed=config.seed)
            wrong = {task.name: given[task.name] != task.train.labels for task in job["sources"]}
            chosen = {name: rules(rows[name], wrong[name]) for name in wrong}
            for rule in next(iter(chosen.values())):
                kept = {name: chosen[name][rule][0] for name in wrong}
                found["rows"][f"{rule} {share}"] = count(kept, wrong)
                left = [relabelled(task, *chosen[task.name][rule]) for task in sources]
                again = mixture(self.score(config, target, left))
                self.fit(found, f"{rule} {share}", config, target, left, again)
        return found


def rules(rows: TaskRows, wrong: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weights and labels of a source's rows by each rule."""
    chance, given = rows.wrong, rows.task.train.labels
    order = np.argsort(-chance, kind="stable")
    expected, most = float(chance.sum()), len(chance) - 20
    other = np.where(rows.suggested >= 0, rows.suggested, given).astype(given.dtype)

    def without(number: float) -> np.ndarray:
        weights = np.ones(len(chance))
        weights[order[: min(round(number), most)]] = 0
        return weights

    left = np.cumsum(chance[order[::-1]]) / np.arange(1, len(chance) + 1)
    doubtful = (chance > 0.3) & (chance < 0.7)
    return {
        "right": ((~wrong).astype(float), given),
        "keep": (without(expected), given),
        "twice as many": (without(2 * expected), given),
        "a tenth wrong": (without(len(chance) - max((left <= 0.1).sum(), 20)), given),
        "below a fifth": (without((chance >= 0.2).sum()), given),
        "relabelled, doubtful out": ((~doubtful).astype(float), np.where(chance >= 0.7, other, given)),
        "relabelled, weighted": (np.abs(1 - 2 * chance) + 1e-3, np.where(chance > 0.5, other, given)),
        "suspects relabelled": (np.ones(len(chance)), np.where(suspects(chance), other, given)),
    }


def relabelled(task, weights: np.ndarray, labels: np.ndarray):
    return replace(task, train=replace(task.train, labels=labels).weighted(weights))


def pack(arguments: argparse.Namespace) -> None:
    from sgg_ray.tasks import Reader

    reader = Reader()
    jobs = [
        label_job(reader, name, shots, seed, SHARES)
        for seed in arguments.seeds
        for name in TARGETS
        for shots in SHOTS
    ]
    with lzma.open(arguments.out, "wb", preset=1) as file:
        pickle.dump(jobs, file)
    print(f"{len(jobs)} jobs in {arguments.out}")


def report(arguments: argparse.Namespace) -> None:
    """Share of the clean sources' gain by rule, over all splits."""
    pd.set_option("display.width", 200, "display.max_columns", 30)
    frame = accuracies(read(arguments.folder))
    means = frame.pivot_table(index="rows", columns="task", values="accuracy")
    means["mean"] = means.mean(axis=1)
    only, clean = means.loc["target only", "mean"], means.loc["all 0.0", "mean"]
    means["of the gain"] = 100 * (means["mean"] - only) / (clean - only)
    counts = frame.groupby("rows")[["left", "marked"]].mean()
    print(f"{len(frame) // frame['rows'].nunique()} splits")
    print(means.join(counts).round(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    add_pack(commands)
    add_run(commands)
    commands.add_parser("report", help="what each rule came to").add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments, partial(RuleBench, arguments.model, arguments.steps))
    else:
        {"pack": pack, "report": report}[arguments.command](arguments)


if __name__ == "__main__":
    main()
