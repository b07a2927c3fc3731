"""Language models on the suite: rivals at searched rates, with and without terms, in clean and bad pools.

    python studies/strategies.py pack --half development --seeds 100-101 --out development.pkl
    python studies/strategies.py pack --half report --seeds 0-7 --out report.pkl
    python studies/language_models.py search second measure --jobs development.pkl report.pkl --model MODEL --out FOLDER
    python studies/language_model_report.py FOLDER

``search`` trains every variant of language_model_variants.py on a few splits of development tasks, ``second`` the
promising ones on others, ``episodes`` the best with weights and term once more in the format of in-context learning.
``measure`` takes of each family the variant that was best there and trains it on tasks of the report half. Cells are
written as they end, one line of JSON each, so that a run that is out of time is still a sample: all strategies of a
split follow each other.
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

import pandas as pd
import torch
from language_model_bench import ONE, Bench, packed
from language_model_variants import FAMILIES, SECOND, WEIGHTINGS, Cell, Sections, choice, chosen_variants
from suite.load import suite

DEVELOPMENT = ("films", "science", "messages", "tweets-3way", "tweets")
REPORT = ("reviews", "news", "mail", "products", "recreation", "drugs")
FILES = {"episodes": "episodes.jsonl", "measure": "measured.jsonl"}
EPISODE_SEARCH = ("sgg-episodes", "sgg-terms", "sgg-episodes-3e-4")
TOGETHER = (
    4  # variants that one process trains in a row, few: the splits of a search that are cut off are lost
)
DEVELOPMENT_ROUNDS = ((100, 16), (101, 4), (101, 16), (100, 4))
# Every seed once before any seed twice: a unit of the tests is a task and a seed.
ROUNDS = tuple((seed, (16, 4)[(seed + turn) % 2]) for turn in range(2) for seed in range(8))


def work(number: int, gpus: int, todo, done, scored, rows: list[Path], model: str) -> None:
    """One process: jobs for as long as it is left alone."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    bench = Bench(model, packed(rows), scored)
    while True:
        job, until = pickle.loads(todo.get())
        try:
            for cell in bench.run(job):
                done.put(cell)
                if time.time() > until:
                    break
        except Exception as error:
            done.put({**job["place"], "error": repr(error)[:200], "trace": traceback.format_exc()[-1500:]})
        done.put(None)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


class Team:
    """Processes that do jobs.

    Args:
        arguments: ``processes``, ``jobs``, ``model`` and ``most`` are read.
    """

    def __init__(self, arguments: argparse.Namespace):
        os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
        self.started, self.most = time.time(), arguments.most
        context = multiprocessing.get_context("spawn")
        self.manager, self.todo, self.done = context.Manager(), context.Queue(), context.Queue()
        self.scored = self.manager.dict()  # which lives for as long as somebody here knows it
        given = self.todo, self.done, self.scored, arguments.jobs, arguments.model
        self.processes = [
            context.Process(target=work, args=(number, torch.cuda.device_count(), *given), daemon=True)
            for number in range(arguments.processes)
        ]
        for process in self.processes:
            process.start()

    def train(self, jobs: list[Cell], path: Path, until: float, grace: float) -> list[Cell]:
        """Do the jobs in their order; cells are written to ``path`` as they come.

        Args:
            until: time after which no cell begins, and jobs that nobody has begun are dropped.
            grace: seconds that what has begun may still take.
        """
        for job in jobs[: self.most]:
            self.todo.put(pickle.dumps((job, until)))
        found, left, shown = [], len(jobs[: self.most]), time.time()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            while left and time.time() < until + grace:
                if time.time() > until:
                    left -= self.dropped()
                try:
                    cell = self.done.get(timeout=1)
                except Empty:
                    if not any(process.is_alive() for process in self.processes):
                        break
                    continue
                if cell is None:
                    left -= 1
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
                    print(f"{shown - self.started:.0f} s: {len(found)} cells", flush=True)
        print(f"{len(found)} cells after {time.time() - self.started:.0f} s", flush=True)
        return found

    def dropped(self) -> int:
        """How many jobs nobody has begun; they are forgotten."""
        number = 0
        while True:
            try:
                self.todo.get(block=False)
            except Empty:
                return number
            number += 1

    def end(self) -> None:
        """End the processes, whatever they do."""
        for process in self.processes:
            process.terminate()
        self.todo.cancel_join_thread()


def a_job(
    task: str,
    shots: int,
    seed: int,
    pool: str,
    variants: dict[str, Sections],
) -> Cell:
    """Cells of one split and pool that one process trains; without variants the sources are scored."""
    return {"place": {"task": task, "shots": shots, "seed": seed, "pool": pool}, "variants": variants}


def searching(second: bool) -> list[Cell]:
    """Jobs of the wide search, or of the second one, on development tasks."""
    wanted = SECOND if second else FAMILIES
    every = [(family, name) for family in wanted for name in wanted[family]]
    weightings = {f"weighting | {name}": own for name, own in WEIGHTINGS.items()}
    jobs = []
    for seed, shots in DEVELOPMENT_ROUNDS[1:] if second else DEVELOPMENT_ROUNDS[:1]:
        pools = ("clean",) if second else ("clean", "poisoned", "useless")
        jobs += [a_job(task, shots, seed, pool, {}) for pool in pools for task in DEVELOPMENT]
        for task in DEVELOPMENT:
            for start in range(0, len(every), TOGETHER):
                variants = {
                    f"{family} | {name}": FAMILIES[family][name]
                    for family, name in every[start : start + TOGETHER]
                }
                jobs.append(a_job(task, shots, seed, "clean", variants))
            jobs += [a_job(task, shots, seed, pool, weightings) for pool in pools[1:]]
    return jobs


# Groups of cells that one process trains in a row.
ALONE, TWICE = ("lora", "sgg-target", "target-terms-off"), ("lora-twice",)
BESIDE, WEIGHTS = ("sgg-terms", "multitask", "sgg-terms-off"), ("sgg-weights",)
RIVALS, SLOW = (("flad-ucb1",), ("flad-exp3",), ("t-few",)), (("pcgrad",), ("upgrad",))
EPISODES = (("sgg-episodes",), ("in-context-tuning",))
HALF = len(ROUNDS) // 2
OTHER_SHOTS = (8, 32)  # of seeds with even and with odd numbers
FEW = 2  # seeds of trainings with one source, and of episodes


def groups(
    variants: dict[str, Sections], place: tuple[int, int], wanted: tuple[tuple[str, ...], ...], pool: str
) -> list[Cell]:
    """Jobs of one seed and number of shots, on all tasks of the report half."""
    seed, shots = place
    return [
        a_job(task, shots, seed, pool, {name: variants[name] for name in names})
        for names in wanted
        for task in REPORT
    ]


def core(variants: dict[str, Sections], place: tuple[int, int], pool: str) -> list[Cell]:
    """The strategies that everything else is compared with."""
    alone = groups(variants, place, (ALONE, TWICE), pool) if pool == "clean" else []
    return groups(variants, place, (BESIDE, WEIGHTS), pool) + alone


def measured_jobs(variants: dict[str, Sections]) -> list[Cell]:
    """Jobs on the report half, seed by seed: a run that is out of time has whole comparisons of fewer seeds."""
    first = ROUNDS[:HALF]
    jobs = [job for pool in ("clean", "poisoned") for place in first for job in core(variants, place, pool)]
    for seed, shots in first:
        place, other = (seed, shots), (seed, OTHER_SHOTS[seed % 2])
        if shots == 4:  # where they were better on development tasks
            jobs += groups(variants, place, EPISODES[:1], "clean")
        jobs += groups(variants, place, RIVALS, "clean")
        jobs += groups(variants, other, (BESIDE[:2], ALONE), "clean")
        jobs += [a_job(task, 8, seed, "poisoned", {}) for task in REPORT]
        if seed < HALF // 2:
            jobs += groups(variants, place, (BESIDE[:2],), "useless")
        if seed == FEW:
            jobs += [job for early in range(FEW - 1) for job in single_jobs(variants["sgg-weights"], early)]
    jobs += [job for place in first for job in groups(variants, place, SLOW, "clean")]
    jobs += [job for place in first for job in groups(variants, place, EPISODES, "clean")]
    jobs += single_jobs(variants["sgg-weights"], FEW - 1)
    return [
        *jobs,
        *(
            job
            for pool in ("clean", "poisoned")
            for place in ROUNDS[HALF:]
            for job in core(variants, place, pool)
        ),
    ]


def single_jobs(sections: Sections, seed: int) -> list[Cell]:
    """Trainings with one source each, clean or with wrong labels: what it is really worth."""
    jobs = []
    for task in REPORT:
        alone = {**sections, "guidance": {**sections["guidance"], "lambda_source": 0}}
        clean = {ONE + name: sections for name in suite()["sources"]}
        wrong = {ONE + name: sections for name in suite()["poisoned"]}
        found = {"no source": alone, **clean}
        parts = [[*found.items()][start : start + TOGETHER] for start in range(0, len(found), TOGETHER)]
        jobs += [a_job(task, 8, seed, "clean", dict(part)) for part in parts]
        jobs.append(a_job(task, 8, seed, "poisoned", wrong))
    return jobs


def episode_jobs(variants: dict[str, Sections]) -> list[Cell]:
    """Jobs on development tasks: do episodes add to weights and term?"""
    return [
        a_job(task, shots, seed, "clean", {name: variants[name]})
        for name in EPISODE_SEARCH
        for seed, shots in DEVELOPMENT_ROUNDS[1:3]
        for task in DEVELOPMENT
    ]


def left(jobs: list[Cell], kept: Path | None, only: list[str] | None) -> list[Cell]:
    """The jobs without the cells that ``kept`` has, a file of language_model_report.py, and with ``only`` these."""
    if only:
        wanted = [{name: job["variants"][name] for name in only if name in job["variants"]} for job in jobs]
        jobs = [{**job, "variants": own} for job, own in zip(jobs, wanted) if own]
    if kept is None:
        return jobs
    columns = ["task", "shots", "seed", "pool", "strategy"]
    known = set(pd.read_csv(kept)[columns].itertuples(index=False, name=None))
    found = []
    for job in jobs:
        place = tuple(job["place"][name] for name in columns[:-1])
        own = {name: value for name, value in job["variants"].items() if (*place, name) not in known}
        if own or not job["variants"]:
            found.append({**job, "variants": own})
    return found


def lines(path: Path) -> list[Cell]:
    """Cells of an earlier run."""
    return [json.loads(line) for line in path.open()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("search", "second", "episodes", "measure"), nargs="+")
    parser.add_argument("--jobs", type=Path, nargs="+", required=True, help="what strategies.py pack wrote")
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1e9], help="for each command")
    parser.add_argument("--grace", type=float, default=30, help="what has begun may take so much longer")
    parser.add_argument("--kept", type=Path, help="measure: CSV of an earlier run, whose cells are left out")
    parser.add_argument("--only", nargs="+", help="measure: these strategies")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--most", type=int)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    first, second, choices = (
        arguments.out / name for name in ("search.jsonl", "second.jsonl", "choice.json")
    )
    team, until = Team(arguments), time.time()
    for command, seconds in zip(arguments.command, arguments.seconds * len(arguments.command)):
        until = max(until, time.time()) + seconds
        if command in ("episodes", "measure"):
            variants = chosen_variants(json.loads(choices.read_text()))
            if command == "episodes":
                jobs = episode_jobs(variants)
            else:
                jobs = left(measured_jobs(variants), arguments.kept, arguments.only)
            team.train(jobs, arguments.out / FILES[command], until, arguments.grace)
        else:
            path = second if command == "second" else first
            team.train(searching(command == "second"), path, until, arguments.grace)
            choices.write_text(json.dumps(choice(lines(first), lines(second)), indent=1))
    team.end()


if __name__ == "__main__":
    main()
