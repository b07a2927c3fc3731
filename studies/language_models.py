"""Language models on the suite: rivals at searched rates, with and without terms, clean and poisoned pools.

    python studies/strategies.py pack --half development --seeds 100-102 --out development.pkl
    python studies/strategies.py pack --half report --seeds 0-5 --out report.pkl
    python studies/language_models.py search development.pkl --model MODEL --seconds 180 --out FOLDER
    python studies/language_models.py measure report.pkl --model MODEL --seconds 360 --out FOLDER
    python studies/language_model_report.py FOLDER

``search`` trains every variant below on development tasks; ``measure`` takes of each family the variant that was best
there and trains it on tasks of the report half. Cells are written as they end, one line of JSON each, so that a run
that is out of time is still a sample: rounds of one seed and number of shots follow each other.
"""

import argparse
import json
import lzma
import multiprocessing
import os
import pickle
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch

from sgg_ray.alignment import mixture_weights
from sgg_ray.config import Config, StrategyConfig, apply_strategy
from sgg_ray.models import PretrainedModel, build_model
from sgg_ray.scoring import TaskSummariser, score_tasks
from sgg_ray.tasks import Task
from sgg_ray.training import Hooks, Trainer, run_training
from sgg_ray.training.passes import TARGET

STEPS = 60
DEVELOPMENT = ("films", "science", "messages", "tweets-3way")
REPORT = ("reviews", "news", "mail", "products", "recreation", "drugs")
QUESTIONS = {"news": "Topic", "science": "Topic", "recreation": "Topic", "messages": "Kind", "mail": "Kind"}
ADAPTER = {"peft_type": "lora", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
FITTED = 0.3  # training loss below which gradients are not compared any more
SHARPNESS_RADIUS = 0.05  # of the step along g at which the loss is looked at again
ALONE = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}
PLAIN = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 1}
LIMITED = {"max_hvp_ratio": 0.5}
TARGET_TERMS = {"lambda_alignment": 0, "lambda_source": 0}
EPISODES = {"context_examples": 8, "cuda_graphs": False, "micro_batch_size": 8}

Sections = dict[str, dict[str, Any]]
Cell = dict[str, Any]


def rated(rates: tuple[float, ...], **sections: dict[str, Any]) -> dict[str, Sections]:
    """A variant for each learning rate."""
    return {
        f"{rate:g}": {**sections, "train": {**sections.get("train", {}), "learning_rate": rate}}
        for rate in rates
    }


LORA, FEW = (3e-4, 1e-3, 3e-3), (1e-3, 5e-3, 2e-2)
STRONG = {"lambda_direction": 0.3, "lambda_magnitude": 0.3}
IA3: Sections = {
    "model": {"adapter": {"peft_type": "ia3"}, "length_normalised": True},
    "train": {"loss": "t_few"},
}
EVEN = {"weighting": "uniform"}


def named(prefix: str, variants: dict[str, Sections]) -> dict[str, Sections]:
    """The same under longer names."""
    return {f"{prefix} {name}": own for name, own in variants.items()}


# What is searched: of each family the best variant is measured.
FAMILIES: dict[str, dict[str, Sections]] = {
    "lora": rated(LORA, guidance=ALONE),
    "full": rated((1e-5, 3e-5, 1e-4), guidance=ALONE, model={"adapter": None}),
    "t-few": rated(FEW, guidance=ALONE, **IA3),
    "multitask": rated(LORA, guidance=PLAIN, alignment=EVEN),
    "in-context-tuning": rated(LORA, guidance=PLAIN, alignment=EVEN, train=EPISODES),
    "sgg-target": {
        **rated(LORA, guidance={**TARGET_TERMS, **LIMITED}),
        **named("strong", rated(LORA, guidance={**TARGET_TERMS, **LIMITED, **STRONG})),
    },
    "sgg": {
        **rated(LORA, guidance=LIMITED),
        **named("0.3", rated(LORA, guidance={**LIMITED, "lambda_source": 0.3})),
    },
    "sgg-in-context": rated((3e-4, 1e-3), guidance=LIMITED, train=EPISODES),
}
NO_TERMS = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "max_hvp_ratio": None}
DEFAULT_TERMS = {"lambda_direction": 0.1, "lambda_magnitude": 0.1, **LIMITED}
# What is measured at the settings of a family: the family, and changes to it.
DERIVED: dict[str, tuple[str, Sections]] = {
    "lora-twice": ("lora", {"train": {"max_steps": 2 * STEPS}}),
    "lora-double-batch": ("lora", {"train": {"batch_size": 32}}),
    "terms-at-lora": ("lora", {"guidance": DEFAULT_TERMS}),
    "sgg-without-terms": ("sgg", {"guidance": NO_TERMS}),
    "flad-exp3": ("multitask", {"alignment": {"weighting": "exp3"}}),
    "flad-ucb1": ("multitask", {"alignment": {"weighting": "ucb1"}}),
    "pcgrad": ("multitask", {"train": {"combine": "pcgrad"}}),
    "upgrad": ("multitask", {"train": {"combine": "upgrad"}}),
}
CALIBRATED = {"contextual_calibration": True}
UNTRAINED: dict[str, Sections] = {
    "zero-shot": {"guidance": ALONE, "train": {"method": "zero_shot"}},
    "zero-shot-calibrated": {"guidance": ALONE, "model": CALIBRATED, "train": {"method": "zero_shot"}},
    "in-context": {"guidance": ALONE, "train": {"method": "in_context"}},
    "in-context-calibrated": {"guidance": ALONE, "model": CALIBRATED, "train": {"method": "in_context"}},
}
# Groups of cells that one process trains in a row, most important first; those that follow need no target alone.
TARGET_ONLY = (
    *UNTRAINED,
    "lora",
    "sgg-target",
    "terms-at-lora",
    "lora-twice",
    "full",
    "t-few",
    "lora-double-batch",
)
SCORED = ("sgg", "sgg-without-terms", "sgg-in-context")
UNIFORM = ("multitask", "flad-exp3")
SLOW_UNIFORM = ("in-context-tuning", "flad-ucb1")
SLOWEST = ("upgrad", "pcgrad")
ROUNDS = (
    (0, 16),
    (1, 4),
    (1, 16),
    (0, 4),
    (2, 16),
    (2, 4),
    (3, 16),
    (3, 4),
    (0, 32),
    (1, 32),
    (2, 32),
    (3, 32),
)


def base(model: str, seed: int) -> Config:
    """What all variants have in common."""
    return Config.model_validate(
        {
            "name": "language-models",
            "seed": seed,
            "model": {"path": model, "adapter": ADAPTER, "precision": "bfloat16", "chat": False},
            "target": {"path": "-", "shots": 1},
            "sources": [{"name": "any", "path": "-"}],
            "alignment": {"rows": 64},
            "train": {
                "max_steps": STEPS,
                "batch_size": 16,
                "source_batch_size": 16,
                "max_length": 64,
                "logging_steps": 4,
                "eval_batch_size": 64,
            },
        }
    )


def configured(config: Config, sections: Sections) -> Config:
    """The configuration with a variant's keys in place of its own."""
    return apply_strategy(config, StrategyConfig.model_validate({"name": "variant", **sections}))


def changed(sections: Sections, changes: Sections) -> Sections:
    """Sections with some keys replaced."""
    return {name: {**sections.get(name, {}), **changes.get(name, {})} for name in {*sections, *changes}}


def chosen_variants(choice: dict[str, str]) -> dict[str, Sections]:
    """Every strategy that is measured, by its name."""
    best = {family: variants[choice[family]] for family, variants in FAMILIES.items()}
    derived = {name: changed(best[family], changes) for name, (family, changes) in DERIVED.items()}
    return {**UNTRAINED, **best, **derived}


def asked(task: Task) -> Task:
    """The task with a prompt of its own."""
    return replace(task, prompt=f"Text: {{text}}\n{QUESTIONS.get(task.name, 'Sentiment')}:")


class Watch:
    """Looks at a training from outside: where it began, and how flat the loss of the shots is where it ended."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None
        self.events: list[dict[str, float]] = []

    def begin(self, trainer: Trainer):
        self.trainer, self.start = trainer, trainer.flat.values.clone()
        return trainer.phases

    def found(self) -> Cell:
        """Distance, sharpness, and the gradients of the steps before the shots were fitted."""
        trainer, events = self.trainer, self.events
        if trainer is None or not events:
            return {}
        flat, passes = trainer.flat, trainer.passes
        norms = np.array([e["gradient_norm"] for e in events if e["loss"] > FITTED])
        cosines = [
            e["step_cosine"] for e in events if e["loss"] > FITTED and e.get("step_cosine") is not None
        ]
        distance = flat.norm(flat.values - self.start).item()
        trainer.model.eval()
        pairs = passes.target_batch(0)
        at = passes.backward(pairs, len(pairs), 0, TARGET).item()
        step = flat.gradient * (SHARPNESS_RADIUS / flat.norm(flat.gradient).clamp(min=1e-12))
        flat.values.add_(step)
        beyond = passes.backward(pairs, len(pairs), 0, TARGET).item()
        flat.values.sub_(step)
        return {
            "step_cosine": float(np.mean(cosines)) if cosines else None,
            "unfitted_steps": len(norms),
            "norm_variation": float(norms.std() / norms.mean()) if len(norms) > 2 else None,
            "distance": distance,
            "shot_loss": at,
            "sharpness": beyond - at,
            "last_loss": float(np.mean([e["loss"] for e in events[-4:]])),
        }


class Bench:
    """What one process keeps between jobs."""

    def __init__(self, model: str):
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model
        self.foundations: dict[bool, PretrainedModel] = {}

    def foundation(self, config: Config) -> PretrainedModel:
        adapted = config.model.adapter is not None
        if adapted not in self.foundations:
            self.foundations[adapted] = PretrainedModel(config.model, self.device)
        return self.foundations[adapted]

    def run(self, job: Cell) -> Iterator[Cell]:
        """The cells of a job, one after the other."""
        config = base(self.model, job["seed"])
        target, sources = asked(job["target"]), [asked(source) for source in job["sources"]]
        weights = {source.name: 1 / len(sources) for source in sources}
        scored = None
        for name, sections in job["variants"].items():
            own = configured(config, sections)
            if own.alignment.weighting == "relu" and own.guidance.lambda_source > 0:
                if scored is None:
                    scored = self.scores(config, target, sources)
                    yield {**job["place"], "scores": scored}
                used = scored["weights"]
            else:
                used = weights if own.guidance.lambda_source > 0 else {}
            yield {**job["place"], "strategy": name, **self.attempt(own, target, sources, used)}

    def scores(self, config: Config, target: Task, sources: list[Task]) -> Cell:
        started = time.perf_counter()
        model = build_model(config, [target], self.foundation(config)).to(self.device)
        found = score_tasks(TaskSummariser(model, config.alignment, config.seed), target, sources)
        weights = mixture_weights(list(found.values())).tolist()
        return {
            "weights": dict(zip(found, weights)),
            "values": {name: score and score.value for name, score in found.items()},
            "seconds": time.perf_counter() - started,
        }

    def attempt(self, config: Config, target: Task, sources: list[Task], weights: dict[str, float]) -> Cell:
        """A training, or what went wrong: the other cells of the job are trained all the same."""
        try:
            return self.train(config, target, sources, weights)
        except Exception as error:
            return {"error": repr(error)[:200], "trace": traceback.format_exc()[-1500:]}

    def train(self, config: Config, target: Task, sources: list[Task], weights: dict[str, float]) -> Cell:
        watch, started = Watch(), time.perf_counter()
        hooks = Hooks(on_events=watch.events.extend, phases=watch.begin)
        foundation = self.foundation(config)
        outcome = run_training(
            config, target, sources, weights, self.device, hooks=hooks, foundation=foundation
        )
        seconds = time.perf_counter() - started
        found = outcome.predictions.metrics().of_cell()
        steps = [event["seconds"] for event in watch.events]
        return {
            "accuracy": found["accuracy"],
            "macro_f1": found["macro_f1"],
            "seconds": seconds,
            "step_seconds": float(np.median(steps)) if steps else None,
            "shares": {key[6:]: value for key, value in watch.events[-1].items() if key.startswith("share/")}
            if steps
            else {},
            **watch.found(),
        }


def work(number: int, gpus: int, todo, done, model: str, deadline: float) -> None:
    """One process: jobs until none is left or time is over."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    bench = Bench(model)
    while time.time() < deadline:
        try:
            job = pickle.loads(todo.get(timeout=2))
        except Empty:
            break
        try:
            for cell in bench.run(job):
                done.put(cell)
                if time.time() > deadline:
                    break
        except Exception as error:
            done.put({**job["place"], "error": repr(error)[:200], "trace": traceback.format_exc()[-1500:]})
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    done.put(None)


def run(jobs: list[Cell], arguments: argparse.Namespace, path: Path) -> list[Cell]:
    """Train all jobs in order, in several processes; cells are written to ``path`` as they come."""
    os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    started = time.time()
    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    for job in jobs:
        todo.put(pickle.dumps(job))
    given = (torch.cuda.device_count(), todo, done, arguments.model, started + arguments.seconds)
    team = [
        context.Process(target=work, args=(number, *given), daemon=True)
        for number in range(arguments.processes)
    ]
    for process in team:
        process.start()
    found, running, shown = [], len(team), time.time()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        while running and time.time() < started + arguments.seconds + arguments.grace:
            try:
                cell = done.get(timeout=1)
            except Empty:
                if not any(process.is_alive() for process in team):
                    break
                continue
            if cell is None:
                running -= 1
                continue
            if "error" in cell:
                print(cell["trace"], flush=True)
            found.append(cell)
            if len(found) > 20 and all("error" in cell for cell in found):
                break
            file.write(json.dumps(cell) + "\n")
            file.flush()
            if time.time() - shown > 20:
                shown = time.time()
                print(f"{shown - started:.0f} s: {len(found)} cells", flush=True)
    print(f"{len(found)} cells in {time.time() - started:.0f} s", flush=True)
    for process in team:
        process.terminate()
    todo.cancel_join_thread()  # of jobs that nobody has begun
    return found


def packed(path: Path) -> dict[tuple[str, int, int], Cell]:
    """What ``strategies.py pack`` wrote, by task, shots and seed."""
    with lzma.open(path) as file:
        return {(job["task"], job["shots"], job["seed"]): job for job in pickle.load(file)}


def a_job(
    packs: dict[tuple[str, int, int], Cell],
    task: str,
    shots: int,
    seed: int,
    pool: str,
    variants: dict[str, Sections],
) -> Cell:
    """Cells of one split and pool that one process trains.

    Sources are of other corpora than the target: the poisoned pool of a seed is that of any number of shots.
    """
    return {
        "seed": seed,
        "place": {"task": task, "shots": shots, "seed": seed, "pool": pool},
        "target": packs[task, shots, seed]["target"],
        "sources": packs[task, 8 if pool == "poisoned" else shots, seed]["pools"][pool],
        "variants": variants,
    }


def search(arguments: argparse.Namespace) -> None:
    """Every variant of every family on development tasks."""
    packs = packed(arguments.jobs)
    order = ("lora", "sgg-target", "sgg", "multitask", "full", "t-few", "in-context-tuning", "sgg-in-context")
    jobs = [
        a_job(
            packs,
            task,
            16,
            seed,
            "clean",
            {f"{family} | {name}": own for name, own in FAMILIES[family].items()},
        )
        for seed in (100, 101)
        for family in order
        for task in DEVELOPMENT
    ]
    found = run(jobs[: arguments.most], arguments, arguments.out / "search.jsonl")
    (arguments.out / "choice.json").write_text(json.dumps(choice(found), indent=1))


def choice(cells: list[Cell]) -> dict[str, str]:
    """Of each family the variant with the best mean accuracy over the splits that all of its variants have."""
    by: dict[str, dict[str, dict[tuple, float]]] = {family: {} for family in FAMILIES}
    for cell in cells:
        if "accuracy" in cell:
            family, variant = cell["strategy"].split(" | ")
            by[family].setdefault(variant, {})[cell["task"], cell["seed"]] = cell["accuracy"]
    best = {}
    for family, variants in by.items():
        common = set.intersection(*(set(own) for own in variants.values())) if variants else set()
        means = {
            name: float(np.mean([own[split] for split in common])) for name, own in variants.items() if common
        }
        best[family] = max(means, key=means.__getitem__) if means else list(FAMILIES[family])[1]
        shown = {name: round(100 * mean, 1) for name, mean in means.items()}
        print(f"{family}: {len(common)} splits, {shown}: {best[family]}")
    return best


def measure(arguments: argparse.Namespace) -> None:
    """The chosen variants on the report half."""
    packs, jobs = packed(arguments.jobs), []
    variants = chosen_variants(json.loads((arguments.out / "choice.json").read_text()))
    both = ("clean", "poisoned")
    for number, (seed, shots) in enumerate(ROUNDS):
        groups = [(TARGET_ONLY, ("clean",)), (SCORED, both), (UNIFORM, both)]
        groups += [(SLOW_UNIFORM, both if number < 2 else ("clean",))]
        groups += [(SLOWEST, ("clean",))] if number < 4 else []
        for names, pools in groups:
            own = {name: variants[name] for name in names}
            jobs += [a_job(packs, task, shots, seed, pool, own) for pool in pools for task in REPORT]
    run(jobs[: arguments.most], arguments, arguments.out / "measured.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("search", "measure"))
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=float, default=1e9, help="no cell begins later than this")
    parser.add_argument("--grace", type=float, default=30, help="what has begun may take so much longer")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--most", type=int)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    {"search": search, "measure": measure}[arguments.command](arguments)


if __name__ == "__main__":
    main()
