"""Could a training end once its shots are fitted? Loss and test rows along whole trainings of the suite.

    python studies/strategies.py pack --half development --seeds 100-102 --out development.pkl
    python studies/early_stopping.py train development.pkl --model MODEL --tasks films science --out curves.json
    python studies/early_stopping.py report curves.json

A rule that only ends a training changes nothing of what comes before. So one training to its last step, whose test rows
are predicted every few steps, says what each rule would have saved and lost.
"""

import argparse
import json
import lzma
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from strategies import base, strategy

from sgg_ray.models import PretrainedModel
from sgg_ray.training import Hooks, SingleProcess, predict, run_training

EVERY = 10  # steps between two predictions of the test rows, and two looks at the losses
ALONE = ("full", "sgg-target")
LIMITS, PATIENCES = (0.2, 0.1, 0.05, 0.02), (10, 20)

Curve = dict[str, Any]


def curve(job: dict[str, Any], name: str, model: str, steps: int, rows: int) -> Curve:
    """Losses of every step of a training, and what the model makes of the test rows every few steps."""
    settings = {"logging_steps": EVERY, "calibration_folds": 0}
    config = strategy(base(model, job["seed"], steps), name)
    config = config.model_copy(update={"train": config.train.model_copy(update=settings)})
    target = job["target"]
    test = target.test.take(np.random.default_rng(0).permutation(len(target.test))[:rows])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    losses: list[float] = []
    tested: list[tuple[int, float, float]] = []
    held: list[Any] = []

    def look(events) -> None:
        losses.extend(event["loss"] for event in events)
        trainer = held[0]
        tokens = trainer.model.tokenise(target, test)
        found = predict(trainer.model, tokens, config.train.eval_batch_size, SingleProcess())
        right = float((found.argmax(1) == test.labels).mean())
        surprise = float(-np.log(found[np.arange(len(test)), test.labels].clip(1e-9)).mean())
        tested.append((trainer.step, right, surprise))

    def phases(trainer):
        held.append(trainer)
        return trainer.phases

    run_training(
        config,
        target,
        [],
        {},
        device,
        hooks=Hooks(on_events=look, phases=phases),
        foundation=PretrainedModel(config.model, device),
    )
    place = {key: job[key] for key in ("task", "shots", "seed")}
    return {**place, "strategy": name, "steps": steps, "losses": losses, "tested": tested}


def end_of(found: Curve, limit: float, patience: int) -> int:
    """The step at which the rule ends the training: ``patience`` losses in a row below ``limit``."""
    row = 0
    for step, loss in enumerate(found["losses"], start=1):
        row = row + 1 if loss < limit else 0
        if row >= patience and step % EVERY == 0:
            return step
    return found["steps"]


def report(curves: list[Curve]) -> None:
    """A line for each rule and strategy: how often it acts, what it saves, what it costs."""
    print("| strategy | limit | in a row | ends early | steps saved | accuracy, points | ± | loss |")
    print("|---|---|---|---|---|---|---|---|")
    for name in ALONE:
        own = [found for found in curves if found["strategy"] == name]
        for limit in LIMITS:
            for patience in PATIENCES:
                ends = [end_of(found, limit, patience) for found in own]
                early = [end < found["steps"] for end, found in zip(ends, own)]
                saved = np.mean([1 - end / found["steps"] for end, found in zip(ends, own)])
                lost = [_change(found, end) for end, found in zip(ends, own)]
                right, surprise = np.mean(lost, axis=0)
                error = 100 * np.std([one[0] for one in lost], ddof=1) / len(lost) ** 0.5
                print(
                    f"| {name} | {limit} | {patience} | {sum(early)} of {len(own)} | {100 * saved:.0f} % | "
                    f"{100 * right:+.2f} | {error:.2f} | {surprise:+.3f} |"
                )


def _change(found: Curve, end: int) -> tuple[float, float]:
    """Accuracy and loss at ``end``, less those of the last step."""
    by_step = {step: (right, surprise) for step, right, surprise in found["tested"]}
    last = by_step[found["steps"]]
    return by_step[end][0] - last[0], by_step[end][1] - last[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    trainer = commands.add_parser("train")
    trainer.add_argument("jobs", type=Path)
    trainer.add_argument("--model", required=True)
    trainer.add_argument("--tasks", nargs="+", required=True)
    trainer.add_argument("--shots", type=int, nargs="+", default=[8, 32])
    trainer.add_argument("--seed", type=int, default=100)
    trainer.add_argument("--steps", type=int, default=150)
    trainer.add_argument("--rows", type=int, default=200, help="test rows")
    trainer.add_argument("--out", type=Path, required=True)
    reporter = commands.add_parser("report")
    reporter.add_argument("curves", type=Path)
    asked = parser.parse_args()
    if asked.command == "report":
        report(json.loads(asked.curves.read_text()))
        return
    torch.set_num_threads(1)
    curves: list[Curve] = []
    with lzma.open(asked.jobs) as file:
        jobs = [job for job in pickle.load(file) if job["seed"] == asked.seed]
    jobs = [job for job in jobs if job["task"] in asked.tasks and job["shots"] in asked.shots]
    for job in jobs:
        for name in ALONE:
            curves.append(curve(job, name, asked.model, asked.steps, asked.rows))
            asked.out.write_text(json.dumps(curves))
            print(job["task"], job["shots"], name, curves[-1]["tested"][-1], flush=True)


if __name__ == "__main__":
    main()
