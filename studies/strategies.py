"""What would the best strategy have been, and could the shots have told? Trainings of many strategies on the suite.

    python studies/strategies.py pack --half development --seeds 100-102 --out development.pkl
    python studies/strategies.py run development.pkl --model MODEL --seconds 300 --out FOLDER
    python studies/strategy_report.py FOLDER

``pack`` reads the suite's rows on a machine that has them; ``run`` needs no data and no Ray, only PyTorch and
Transformers. One job is a split (task, shots, seed): every strategy is trained on it, two of them also on halves
of the shots, and means of their parameters are tried. What each predicts for the test rows is kept, so that blends
and rules of choice can be looked at afterwards without another training.
"""

import argparse
import lzma
import multiprocessing
import os
import pickle
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
import yaml

from sgg_ray.alignment import mixture_weights
from sgg_ray.config import Config, StrategyConfig, apply_strategy
from sgg_ray.models import EncoderClassifier, PretrainedModel, TaskModel, build_model
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import Task, hold_out, label_name_rows
from sgg_ray.training import SingleProcess, predict, run_training
from sgg_ray.training.head import begin_at_names

SHOTS = (4, 8, 16, 32, 64)
POISONED_SHOTS = (8, 32)
FOLDER = Path(__file__).parents[1] / "sgg_ray" / "strategies"
ALONE = ("full", "linear-probe", "lora", "sam", "sgg-target", "sgg-target-without-names")
BESIDE = ("multitask", "sgg", "sgg-0.3", "sgg-0.1")
OWN: dict[str, dict[str, Any]] = {
    "sgg-0.3": {
        "guidance": {"lambda_source": 0.3, "max_hvp_ratio": 0.5},
        "train": {"share_labels": True, "head": "label_names", "learning_rate": 5e-5},
    },
    "sgg-0.1": {
        "guidance": {"lambda_source": 0.1, "max_hvp_ratio": 0.5},
        "train": {"share_labels": True, "head": "label_names", "learning_rate": 5e-5},
    },
}
SOUPS = (
    ("sgg-target", "sgg"),
    ("sgg-target", "sgg-0.3"),
    ("sgg-target", "sgg-target-without-names"),
    ("sgg-target-without-names", "sgg"),
    ("sgg-target", "sgg-target-without-names", "sgg"),
    ("sgg-target", "sgg-target-without-names", "sgg-0.3"),
)
FOLDS = 2

Job = dict[str, Any]


def base(model: str, seed: int, steps: int) -> Config:
    """The comparison's settings, as in pipelines/configs/compare.yaml."""
    return Config.model_validate(
        {
            "name": "strategies",
            "seed": seed,
            "model": {"path": model},
            "target": {"path": "-", "shots": 1},
            "sources": [{"name": "any", "path": "-"}],
            "guidance": {
                "lambda_direction": 0.1,
                "lambda_magnitude": 0.1,
                "lambda_alignment": 0.05,
                "lambda_source": 1.0,
            },
            "train": {
                "max_steps": steps,
                "batch_size": 16,
                "source_batch_size": 16,
                "max_length": 64,
                "logging_steps": steps,
                "eval_batch_size": 128,
            },
        }
    )


def strategy(config: Config, name: str) -> Config:
    """The settings of a strategy: a shipped file's, or one of those above."""
    sections = OWN[name] if name in OWN else yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return apply_strategy(config, StrategyConfig.model_validate({"name": name, **sections}))


class Bench:
    """What one process keeps between jobs."""

    def __init__(self, model: str, steps: int, wide: bool):
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.steps, self.wide = model, steps, wide
        self.foundations: dict[bool, PretrainedModel] = {}

    def foundation(self, config: Config) -> PretrainedModel:
        adapted = config.model.adapter is not None
        if adapted not in self.foundations:
            self.foundations[adapted] = PretrainedModel(config.model, self.device)
        return self.foundations[adapted]

    def run(self, job: Job) -> Job:
        """Everything about a split: log-probabilities of the test rows by strategy, scores by pool, seconds."""
        config = base(self.model, job["seed"], self.steps)
        target: Task = job["target"]
        found: Job = {key: job[key] for key in ("task", "shots", "seed")}
        found |= {
            "labels": target.test.labels,
            "shot_labels": target.train.labels,
            "logits": {},
            "scores": {},
        }
        found |= {"seconds": {}, "classes": len(target.labels)}
        found["steepness"] = self.steepness(config, target)
        states: dict[str, dict[str, torch.Tensor]] = {}
        for name in ALONE if self.wide else ALONE[:-1]:
            self.train(found, name, name, config, target, [], {}, states)
        for pool, sources in job["pools"].items():
            started = time.perf_counter()
            scores = self.score(config, target, sources)
            found["seconds"][f"score {pool}"] = time.perf_counter() - started
            found["scores"][pool] = {name: score and score.to_dict() for name, score in scores.items()}
            weights = dict(zip(scores, mixture_weights(list(scores.values())).tolist()))
            uniform = {name: 1 / len(scores) for name in scores}
            for name in BESIDE if self.wide and pool == "clean" else ("multitask", "sgg", "sgg-0.1"):
                used = uniform if name == "multitask" else weights
                place = name if pool == "clean" else f"{name} {pool}"
                self.train(found, place, name, config, target, sources, used, states)
            if pool != "clean":
                self.oracle(found, config, target, sources, job["wrong"])
            elif self.wide:
                self.folds(found, config, target, sources, weights)
                for members in SOUPS:
                    self.soup(found, members, config, target, states)
        return found

    def score(self, config: Config, target: Task, sources: list[Task]) -> dict[str, Any]:
        model = build_model(config, [target], self.foundation(config)).to(self.device)
        summariser = TaskSummariser(model, config.alignment, config.seed)
        return score_tasks(summariser, target, sources, share_labels=True)

    def train(self, found, place, name, config, target, sources, weights, states=None) -> None:
        """One strategy's training; its log-probabilities go into ``found`` under ``place``."""
        own = strategy(config, name)
        started = time.perf_counter()
        outcome = run_training(own, target, sources, weights, self.device, foundation=self.foundation(own))
        found["logits"][place] = logs(outcome.probabilities)
        found["seconds"][place] = time.perf_counter() - started
        if states is not None and any(place in members for members in SOUPS):
            states[place] = state_of(outcome.model)

    def folds(self, found, config, target, sources, weights) -> None:
        """What the two main candidates make of shots that they were not trained on."""
        for number, fold in enumerate(hold_out(target, FOLDS, config.seed)):
            found["logits"][f"held {number}"] = fold.held
            for name in ("sgg-target", "sgg"):
                used = (sources, weights) if name == "sgg" else ([], {})
                self.train(found, f"{name} fold {number}", name, config, fold.of(target), *used)

    def oracle(self, found, config, target, sources, wrong) -> None:
        """What somebody trains who knows which sources are poisoned."""
        clean = [source for source in sources if source.name not in wrong]
        scores = self.score(config, target, clean)
        found["scores"]["oracle"] = {name: score and score.to_dict() for name, score in scores.items()}
        weights = dict(zip(scores, mixture_weights(list(scores.values())).tolist()))
        for name in ("sgg", "sgg-0.1"):
            self.train(found, f"{name} oracle", name, config, target, clean, weights)

    def steepness(self, config: Config, target: Task) -> float:
        """How much the shots make of what the labels are called."""
        model = build_model(config, [target], self.foundation(config)).to(self.device)
        names = label_name_rows(target.labels)
        assert names is not None
        assert isinstance(model, EncoderClassifier)
        rows, words = model.tokenise(target, target.train), model.tokenise(target, names)
        return begin_at_names(model, rows, words, config.train.eval_batch_size)

    def soup(self, found, members, config, target, states) -> None:
        """A model whose parameters are the mean of the members'."""
        model = build_model(config, [target], self.foundation(config)).to(self.device)
        mean = {key: sum(states[name][key] for name in members) / len(members) for key in states[members[0]]}
        model.load_state_dict(mean, strict=False)
        rows = model.tokenise(target, target.test)
        predicted = predict(model, rows, config.train.eval_batch_size, SingleProcess())
        found["logits"][" + ".join(members)] = logs(predicted)


def state_of(model: TaskModel) -> dict[str, torch.Tensor]:
    """The floating-point parameters of the backbone and of the target's head, which is the first one."""
    return {
        key: value.detach().clone()
        for key, value in model.state_dict().items()
        if value.is_floating_point() and (not key.startswith("heads.") or key.startswith("heads.0."))
    }


def logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, 1e-7)).astype(np.float16)


def work(number: int, gpus: int, todo, done, make: Callable[[], Bench], deadline: float) -> None:
    """One process: jobs until none is left or time is over."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    bench = make()
    while time.time() < deadline:
        try:
            job = pickle.loads(todo.get(timeout=2))
        except Empty:
            break
        try:
            done.put(bench.run(job))
        except Exception as error:
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
            done.put({"error": repr(error)[:200], "trace": traceback.format_exc()[-1500:]})
    done.put(None)


def run(arguments: argparse.Namespace, make: Callable[[], Bench]) -> None:
    """Have processes do the packed jobs.

    Args:
        make: makes what a process does jobs with; it is sent to the processes.
    """
    os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
    started = time.time()
    with lzma.open(arguments.jobs) as file:
        jobs = pickle.load(file)
    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    gpus = torch.cuda.device_count()
    for job in jobs[: arguments.most]:
        todo.put(pickle.dumps(job))
    team = [
        context.Process(
            target=work,
            args=(
                number,
                gpus,
                todo,
                done,
                make,
                started + arguments.seconds,
            ),
            daemon=True,
        )
        for number in range(arguments.processes)
    ]
    for process in team:
        process.start()
    found, running, shown = [], len(team), time.time()
    while running and time.time() < started + arguments.seconds + arguments.grace:
        try:
            result = done.get(timeout=1)
        except Empty:
            if not any(process.is_alive() for process in team):
                break
            continue
        if result is None:
            running -= 1
        elif "error" in result:
            print(result["trace"], flush=True)
        else:
            found.append(result)
        if time.time() - shown > 20:
            shown = time.time()
            print(f"{shown - started:.0f} s: {len(found)} of {len(jobs)} splits", flush=True)
            write(found, arguments.out)
    write(found, arguments.out)
    print(f"{len(found)} of {len(jobs)} splits in {time.time() - started:.0f} s")
    for process in team:
        process.terminate()
    todo.cancel_join_thread()  # of splits that nobody has begun


def write(found: list[Job], folder: Path) -> None:
    """In parts, each small enough to be sent."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(0, 4):
        with lzma.open(folder / f"cells-{part}.pkl.xz", "wb", preset=1) as file:
            pickle.dump(found[part::4], file)


def pack(arguments: argparse.Namespace) -> None:
    from suite.load import split, suite

    from sgg_ray.errors import DataError
    from sgg_ray.tasks import Reader

    reader, jobs = Reader(), []
    for seed in arguments.seeds:
        for shots in SHOTS:
            for entry in suite()[arguments.half]:
                try:
                    target, sources = split(entry["name"], shots, seed, reader)
                except DataError as error:
                    print(error)
                    continue
                pools = {"clean": sources}
                if shots in POISONED_SHOTS:
                    pools["poisoned"] = split(entry["name"], shots, seed, reader, poisoned=True)[1]
                place = {"task": entry["name"], "shots": shots, "seed": seed}
                jobs.append({**place, "target": target, "pools": pools, "wrong": suite()["poisoned"]})
    with lzma.open(arguments.out, "wb", preset=1) as file:
        pickle.dump(jobs, file)
    print(f"{len(jobs)} splits in {arguments.out}, {arguments.out.stat().st_size / 2**20:.1f} MiB")


def numbers(text: str) -> list[int]:
    """``0-4``."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packer = add_pack(commands)
    packer.add_argument("--half", choices=("development", "report"), required=True)
    runner = add_run(commands)
    runner.add_argument("--wide", action="store_true", help="also what was tried and not taken")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments)
    else:
        run(arguments, partial(Bench, arguments.model, arguments.steps, arguments.wide))


def add_pack(commands: Any) -> argparse.ArgumentParser:
    """The command ``pack`` with its options."""
    packer = commands.add_parser("pack", help="read the suite's rows")
    packer.add_argument("--seeds", type=numbers, required=True)
    packer.add_argument("--out", type=Path, required=True)
    return packer


def add_run(commands: Any) -> argparse.ArgumentParser:
    """The command ``run`` with its options."""
    runner = commands.add_parser("run", help="train")
    runner.add_argument("jobs", type=Path)
    runner.add_argument("--model", required=True)
    runner.add_argument("--seconds", type=float, default=1e9, help="no split begins later than this")
    runner.add_argument("--grace", type=float, default=60, help="what has begun may take so much longer")
    runner.add_argument("--processes", type=int, default=1)
    runner.add_argument("--steps", type=int, default=60)
    runner.add_argument("--most", type=int)
    runner.add_argument("--out", type=Path, required=True)
    return runner


if __name__ == "__main__":
    main()
