"""Language models on the suite: rivals at searched rates, with and without terms, in clean and bad pools.

    python studies/strategies.py pack --half development --seeds 100-101 --out development.pkl
    python studies/strategies.py pack --half report --seeds 0-7 --out report.pkl
    python studies/language_models.py search development.pkl --model MODEL --seconds 180 --out FOLDER
    python studies/language_models.py measure report.pkl --model MODEL --seconds 360 --out FOLDER
    python studies/language_model_report.py FOLDER

``search`` trains every variant of language_model_variants.py on development tasks; ``measure`` takes of each family
the variant that was best there and trains it on tasks of the report half. Cells are written as they end, one line of
JSON each, so that a run that is out of time is still a sample: all strategies of a split follow each other.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import time
import traceback
from pathlib import Path
from queue import Empty

import torch
from language_model_bench import ONE, Bench, packed
from language_model_variants import FAMILIES, WEIGHTINGS, Cell, Sections, choice, chosen_variants
from suite.load import suite

DEVELOPMENT = ("films", "science", "messages", "tweets-3way", "tweets")
REPORT = ("reviews", "news", "mail", "products", "recreation", "drugs")
TOGETHER = (
    4  # variants that one process trains in a row, few: the splits of a search that are cut off are lost
)
DEVELOPMENT_ROUNDS = ((100, 16), (101, 4), (101, 16), (100, 4))
# Every seed once before any seed twice: a unit of the tests is a task and a seed.
ROUNDS = tuple((seed, (16, 4)[(seed + turn) % 2]) for turn in range(2) for seed in range(8))


def work(number: int, gpus: int, todo, done, scored, rows: Path, model: str, deadline: float) -> None:
    """One process: jobs until none is left or time is over."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    bench = Bench(model, packed(rows), scored)
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
    manager = context.Manager()
    given = (
        torch.cuda.device_count(),
        todo,
        done,
        manager.dict(),
        arguments.jobs,
        arguments.model,
        started + arguments.seconds,
    )
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


def a_job(
    task: str,
    shots: int,
    seed: int,
    pool: str,
    variants: dict[str, Sections],
) -> Cell:
    """Cells of one split and pool that one process trains; without variants the sources are scored."""
    return {"place": {"task": task, "shots": shots, "seed": seed, "pool": pool}, "variants": variants}


def search(arguments: argparse.Namespace) -> None:
    """Every variant of every family on development tasks."""
    jobs = []
    every = [(family, name) for family in FAMILIES for name in FAMILIES[family]]
    weightings = {f"weighting | {name}": own for name, own in WEIGHTINGS.items()}
    for number, (seed, shots) in enumerate(DEVELOPMENT_ROUNDS):
        pools = ("clean", "poisoned", "useless") if number < 2 else ("clean",)
        jobs += [a_job(task, shots, seed, pool, {}) for pool in pools for task in DEVELOPMENT]
        for task in DEVELOPMENT:
            for start in range(0, len(every), TOGETHER):
                variants = {
                    f"{family} | {name}": FAMILIES[family][name]
                    for family, name in every[start : start + TOGETHER]
                }
                jobs.append(a_job(task, shots, seed, "clean", variants))
            jobs += [a_job(task, shots, seed, pool, weightings) for pool in pools[1:]]
    found = run(jobs[: arguments.most], arguments, arguments.out / "search.jsonl")
    (arguments.out / "choice.json").write_text(json.dumps(choice(found), indent=1))


# Groups of cells that one process trains in a row: strategies, and pools.
CORE = (
    (("sgg-weights", "sgg-evidence"), ("clean", "poisoned", "useless")),
    (("sgg-terms",), ("clean", "poisoned")),
    (("multitask",), ("clean", "poisoned", "useless")),
    (("lora", "sgg-target", "terms-at-lora"), ("clean",)),
    (("sequential", "lora-twice", "t-few"), ("clean",)),
)
CLOSEST = ((("flad-exp3",), ("clean",)), (("pcgrad",), ("clean",)))
LAST = ((("flad-exp3", "sequential"), ("poisoned",)), (("in-context-tuning",), ("clean",)))
HALF = len(ROUNDS) // 2
SCORED, SINGLES = 8, 2  # seeds of scores at 8 shots, and of trainings with one source


def measured_jobs(variants: dict[str, Sections]) -> list[Cell]:
    """Jobs on the report half, most important first."""

    def groups(rounds, wanted) -> list[Cell]:
        return [
            a_job(task, shots, seed, pool, {name: variants[name] for name in names})
            for seed, shots in rounds
            for names, pools in wanted
            for pool in pools
            for task in REPORT
        ]

    return [
        *groups(ROUNDS[:HALF], CORE),
        *groups(ROUNDS[:HALF], CLOSEST),
        *[a_job(task, 8, seed, "poisoned", {}) for seed in range(SCORED) for task in REPORT],
        *single_jobs(variants["sgg-weights"]),
        *groups(ROUNDS[HALF:], CORE),
        *groups(ROUNDS[:HALF], LAST),
    ]


def single_jobs(sections: Sections) -> list[Cell]:
    """Trainings with one source each, clean or with wrong labels: what it is really worth."""
    jobs = []
    for seed in range(SINGLES):
        for task in REPORT:
            alone = {**sections, "guidance": {**sections["guidance"], "lambda_source": 0}}
            clean = {ONE + name: sections for name in suite()["sources"]}
            wrong = {ONE + name: sections for name in suite()["poisoned"]}
            jobs.append(a_job(task, 8, seed, "clean", {"no source": alone, **clean}))
            jobs.append(a_job(task, 8, seed, "poisoned", wrong))
    return jobs


def measure(arguments: argparse.Namespace) -> None:
    """The chosen variants on the report half."""
    variants = chosen_variants(json.loads((arguments.out / "choice.json").read_text()))
    jobs = measured_jobs(variants)
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
