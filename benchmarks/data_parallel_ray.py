"""Two things that need Ray: scoring on one GPU beside training on another, and the loss of a training worker.

    python benchmarks/data_parallel_ray.py [--device cuda|cpu] [--parts scoring kill] [--json FILE]

*scoring*: an encoder of BERT's size and random weights is trained by the training loop with guidance on one GPU, while
task workers on another score the sources at its parameters. Windows of steps that begin with a scoring and windows
without one take turns in one training; the growth is the ratio of their medians.

*kill*: a data-parallel training of a small encoder under Ray Train, one process a GPU. One of them is killed; it has to
go on from the last checkpoint and to end with the predictions of an undisturbed training in one process.

On two H200 under two minutes; ``--device cpu --tiny`` only checks that the script works.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

import numpy as np
import psutil
import ray
import torch
from data_parallel import NO_MULTICAST, toy_settings
from torch import Tensor

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import Config
from sgg_ray.models import build_model
from sgg_ray.orchestration.messages import Recorded, steps_of
from sgg_ray.orchestration.runtime.cluster import connected
from sgg_ray.orchestration.runtime.event_log import LogInbox
from sgg_ray.orchestration.score.task_workers import TaskWorkers
from sgg_ray.orchestration.train.torch_trainer import final_checkpoint, make_trainer
from sgg_ray.orchestration.train.train_worker import TrainingJob
from sgg_ray.orchestration.train.weight_refresh import RefreshedWeights
from sgg_ray.tasks import load_tasks
from sgg_ray.training import Event, LabelPredictions, SingleProcess, Trainer, run_training

WINDOW = 30  # steps from one scoring to the next
KILL_STEPS, KILL_AT, CHECKPOINT_EVERY = 240, 90, 60
TOLERANCE = 1e-3  # of a predicted probability


def save_encoder(folder: Path, tiny: bool) -> Path:
    """Random weights in the shape of BERT, with the toy tokenizer."""
    import toy
    from transformers import BertConfig, BertModel

    toy.save_encoder(folder)
    width, layers = (32, 2) if tiny else (768, 12)
    words = json.loads((folder / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 16 if tiny else 12,
        intermediate_size=4 * width,
    )
    BertModel(shape).save_pretrained(folder)
    return folder


def scoring_settings(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    settings = toy_settings(folder)  # makes tests/toy.py known
    import toy

    def texts(name: str, seed: int) -> str:
        short = toy.sentences(4000, seed=seed)
        rows = [
            {"text": " ".join(row["text"] for row in short[first : first + 20 : 2]), "label": label}
            for number in range(0, 4000, 20)
            for first, label in ((number, "negative"), (number + 1, "positive"))
        ]
        return str(toy.write_rows(folder / f"{name}.jsonl", rows))

    sources = [{"name": f"source{number}", "path": texts(f"source{number}", number)} for number in range(3)]
    gpus = 0.25 if options.device == "cuda" else 0
    return toy.merged(
        settings,
        {
            "name": "scoring",
            "model": {
                "path": str(save_encoder(folder / "bert", options.tiny)),
                "precision": "bfloat16" if options.device == "cuda" else "float32",
            },
            "target": {"path": texts("films", 10), "shots": 16},
            "sources": sources,
            "alignment": {"refresh_interval": options.window, "weighting": "uniform"},
            "train": {
                "max_steps": options.window * (1 + 2 * options.repeats),
                "batch_size": 16,
                "source_batch_size": 16,
                "learning_rate": 1e-5,
                "max_length": 16 if options.tiny else 128,
                "logging_steps": options.window,
                "save_steps": 10**6,
            },
            "ray": {
                "task_workers": 4,
                "cpus_per_task_worker": 0.25,
                "gpus_per_task_worker": gpus,
                "gpus_per_worker": 1 if gpus else 0,
            },
        },
    )


class EverySecond:
    """Asks for scores at every second refresh only."""

    def __init__(self, workers: TaskWorkers, window: int):
        self.inner, self.window = RefreshedWeights(workers, {}), window
        self.asked: list[int] = []  # windows that began with a scoring
        self.seconds: list[float] = []  # that asking took
        self.overran = 0  # scorings that went on into the next window

    def refresh(self, step: int, values: Tensor) -> Mapping[str, float] | None:
        number = step // self.window
        if number % 2 == 0:
            self.overran += not self.inner.is_done()
            return None
        self.asked.append(number)
        torch.cuda.synchronize() if values.is_cuda else None
        begin = time.perf_counter()
        weights = self.inner.refresh(step, values)
        self.seconds.append(time.perf_counter() - begin)
        return weights


@ray.remote
def train_with_scoring(config: Config, tasks: tuple, workers: TaskWorkers, window: int) -> dict[str, Any]:
    target, sources = tasks
    device = torch.device("cuda" if config.ray.gpus_per_worker else "cpu")
    model = build_model(config, [target, *sources]).to(device)
    trainer = Trainer(
        model,
        model.tokenise(target, target.train),
        {source.name: model.tokenise(source, source.train) for source in sources},
        {source.name: 1 / len(sources) for source in sources},
        config,
        SingleProcess(),
    )
    events: list[dict[str, float]] = []
    updates = EverySecond(workers, window)
    trainer.run(lambda found: events.extend(found), updates=updates)
    return {
        "values": trainer.flat.size,
        # of each window, without the first, which warms up
        "steps": [events[number * window]["seconds"] for number in range(1, len(events) // window)],
        "asked": updates.asked,
        "asking": updates.seconds,
        "overran": updates.overran,
        "late": trainer.late_updates,
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def scoring(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Step times with and without a scoring beside them."""
    config = Config.model_validate(scoring_settings(folder, options))
    target, sources = load_tasks(config)
    workers = TaskWorkers.start(config, target, sources)
    try:
        workers.score()  # the workers' first time is not the training's concern
        begin = time.perf_counter()
        workers.score()
        alone = time.perf_counter() - begin
        options_ = {"num_gpus": config.ray.gpus_per_worker, "num_cpus": 1}
        found = ray.get(
            train_with_scoring.options(**options_).remote(config, (target, sources), workers, options.window)
        )
    finally:
        workers.close()
    steps = dict(enumerate(found["steps"], start=1))
    scored = [seconds for number, seconds in steps.items() if number in found["asked"]]
    bare = [seconds for number, seconds in steps.items() if number not in found["asked"]]
    return found | {
        "scoring_seconds": alone,
        "scored": statistics.median(scored),
        "bare": statistics.median(bare),
        "growth": statistics.median(scored) / statistics.median(bare) - 1,
        # what two windows of the same kind differ by
        "scatter": (max(bare) - min(bare)) / statistics.median(bare),
    }


def kill(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill one worker in mid-training; what came of it."""
    settings = toy_settings(folder)
    import toy

    device = {"gpus_per_worker": 1} if options.device == "cuda" else {}
    shorter = 8 if options.tiny else 1
    train = {
        "max_steps": KILL_STEPS // shorter,
        "save_steps": CHECKPOINT_EVERY // shorter,
        "learning_rate": 1e-5,
        "logging_steps": 1,
    }
    config = Config.model_validate(
        toy.merged(
            settings, {"name": "kill", "train": train, "ray": {"num_workers": options.world, **device}}
        )
    )
    tasks, weights = load_tasks(config), {"clean": 0.7, "flipped": 0.3}
    expected = run_training(config, *tasks, weights, torch.device(options.device)).probabilities
    inbox = LogInbox()
    trainer = make_trainer(
        TrainingJob(config, ray.put(tasks), weights, inbox.log), StorageFolder(str(folder / "state"))
    )
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(trainer.fit()), daemon=True)
    begin = time.perf_counter()
    thread.start()
    seen: list[tuple[float, int]] = []  # (time, step)
    known: dict[int, Event] = {}
    taken: dict[str, int] = {}  # entries of each attempt's history
    killed, workers = None, 0
    while thread.is_alive():
        thread.join(0.05)
        told: list[int] = []
        for message in inbox.fetch(taken):
            inbox.done()
            if isinstance(message, Recorded) and message.first <= (done := taken.get(message.attempt, 0)):
                new = message.entries[done - message.first :]
                taken[message.attempt] = done + len(new)
                for event in steps_of(new):  # a process that goes on also tells what the checkpoint knows
                    if known.get(int(event["step"])) != event:
                        known[int(event["step"])] = event
                        told.append(int(event["step"]))
        seen += [(time.perf_counter(), step) for step in told]
        if killed is None and seen and seen[-1][1] >= KILL_AT // shorter:
            victims = worker_processes()
            workers, killed = len(victims), time.perf_counter()
            victims[-1].kill()
    assert killed is not None
    before = max(step for when, step in seen if when <= killed)
    again = [(when, step) for when, step in seen if when > killed and step <= before]
    with final_checkpoint(box[0]) as checkpoint:
        found = np.load(checkpoint / LabelPredictions.file)
    return {
        "workers": workers,
        "killed_at": before,
        "resumed_at": min(step for _, step in again),
        "seconds_to_resume": min(when for when, _ in again) - killed,
        "seconds": time.perf_counter() - begin,
        "last_step": max(step for _, step in seen),
        "difference": float(np.abs(found - expected).max()),
    }


def worker_processes() -> list[psutil.Process]:
    """Ray Train's worker processes below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command and command[0].startswith("ray::RayTrainWorker"):
            found.append(process)
    return found


def show(report: dict[str, Any]) -> None:
    if found := report.get("scoring"):
        print(
            f"scoring beside training, {found['values']:,} values, {found['window']} steps a window: step "
            f"{1e3 * found['bare']:.2f} ms without, {1e3 * found['scored']:.2f} ms with a scoring, growth "
            f"{100 * found['growth']:+.2f} % (windows without differ by {100 * found['scatter']:.2f} %); asking "
            f"{', '.join(f'{1e3 * s:.0f}' for s in found['asking'])} ms; a scoring alone "
            f"{found['scoring_seconds']:.2f} s; {found['overran']} went on into the next window"
        )
    if found := report.get("kill"):
        print(
            f"killed 1 of {found['workers']} workers after step {found['killed_at']}: went on from step "
            f"{found['resumed_at']} after {found['seconds_to_resume']:.1f} s, last step {found['last_step']}; "
            f"predicted probabilities differ from an undisturbed training by {found['difference']:.1e} "
            f"(at most {TOLERANCE:g}); {found['seconds']:.0f} s in all"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--world", type=int, default=None, help="training workers; default: all GPUs")
    parser.add_argument("--parts", nargs="+", default=["scoring", "kill"], choices=["scoring", "kill"])
    parser.add_argument("--repeats", type=int, default=3, help="windows of each kind")
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path, default=Path("data_parallel_ray.json"))
    options = parser.parse_args()
    options.world = options.world or max(2, torch.cuda.device_count())
    os.environ.update(NO_MULTICAST)
    report: dict[str, Any] = {}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        first = Config.model_validate(toy_settings(Path(scratch) / "first"))
        with connected(first.ray):
            for part in options.parts:
                print(f"{part}: begins after {time.perf_counter() - begin:.0f} s", flush=True)
                folder = Path(scratch) / part
                report[part] = {"scoring": scoring, "kill": kill}[part](folder, options)
                report[part]["window"] = options.window
                show({part: report[part]})
                options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{time.perf_counter() - begin:.0f} s")
    died = report.get("kill")
    if died and (died["difference"] > TOLERANCE or died["resumed_at"] == 0):
        raise SystemExit("the training did not go on as if nothing had happened")


if __name__ == "__main__":
    main()
