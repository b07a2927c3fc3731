"""Ends commands in every way on a cluster that goes on running, and looks for what they leave there. Prints a table.

    python tests/cluster/leave_nothing.py FOLDER [VERB ...]

FOLDER is for configurations and runs. Each of ``train``, ``tune`` and ``score`` succeeds, fails, is interrupted and is
killed with SIGKILL; two minutes later at most no actor, no placement group and no busy worker may be there. Takes some
twenty minutes on two cores.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import toy  # noqa: E402
import yaml  # noqa: E402
from running_head import RunningHead  # noqa: E402

PIPELINES = HERE.parents[1] / "pipelines"
SECONDS = 120
# A line of the command's output after which its workers are at it.
AT_WORK = {"train": "training, ", "tune": "trial 1 ", "score": "scoring the sources"}
ENDINGS = ("success", "failure", "interrupt", "kill")
FAILS = {"train.learning_rate": 1e30, "train.head_learning_rate": 1e30, "train.warmup_ratio": 0.0}


def settings(folder: Path, verb: str, ending: str) -> Path:
    """A configuration that does what it should: ends soon, fails, or has a lot to do."""
    model = folder / "tiny-bert"
    if not model.exists():
        toy.save_encoder(model)
        toy.write_rows(folder / "target.jsonl", toy.sentences(120, seed=1))
        toy.write_rows(folder / "clean.jsonl", toy.sentences(6000, seed=2))
    long = ending in ("interrupt", "kill")
    content = {
        "name": f"{verb}-{ending}",
        "model": {"path": str(model)},
        "target": {"path": str(folder / "target.jsonl"), "shots": 8, "test": {"fraction": 0.4}},
        "sources": [{"name": "clean", "path": str(folder / "clean.jsonl")}],
        "alignment": {"rows": 6000 if long or verb == "score" else 64},
        "train": {
            "max_steps": 5000 if long else 12,
            "batch_size": 8,
            "max_length": 24,
            "logging_steps": 1,
            "baseline": False,
            "calibration_folds": 0,
        },
        "tune": {
            "num_samples": 3,
            "folds": 2,
            "space": {"guidance.lambda_direction": {"choice": [0.1, 0.2]}},
        },
        "ray": {"address": "auto", "storage_path": str(folder / "runs"), "cpus_per_task_worker": 0.5},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
    }
    if ending == "failure" and verb != "score":
        for key, value in FAILS.items():
            content["train"][key.removeprefix("train.")] = value
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(head: RunningHead, folder: Path, verb: str, ending: str) -> dict[str, object]:
    """End one command in one way; returns its exit code and what was left."""
    log = folder / f"{verb}-{ending}.log"
    with log.open("w") as output:
        driver = subprocess.Popen(
            [sys.executable, PIPELINES / f"{verb}.py", settings(folder, verb, ending)],
            env=head.environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            # Shells start what runs in the background with interrupts ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    if ending != "success" and not (ending == "failure" and verb != "score"):
        wait(lambda: AT_WORK[verb] in log.read_text() or driver.poll() is not None, 300)
    if ending == "interrupt":
        driver.send_signal(signal.SIGINT)
    elif ending == "kill":
        driver.kill()
    elif ending == "failure" and verb == "score":
        # The task workers die more often than they are started again.
        while driver.poll() is None:
            for process in head.processes("ray::TaskWorker"):
                process.kill()
            time.sleep(0.5)
    code = driver.wait(timeout=400)
    started = time.monotonic()
    wait(lambda: not head.left(), SECONDS)
    return {
        "verb": verb,
        "ending": ending,
        "exit": code,
        "left": head.left(),
        "seconds": round(time.monotonic() - started, 1),
        "driver": [process.pid for process in psutil.process_iter() if process.pid == driver.pid],
    }


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Until the condition holds, or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)


def main(folder: Path, verbs: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bad = 0
    with RunningHead(folder) as head:
        for verb in verbs or AT_WORK:
            for ending in ENDINGS:
                found = run(head, folder, verb, ending)
                bad += bool(found["left"])
                print(json.dumps(found), flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
