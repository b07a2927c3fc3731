"""Whatever is killed in mid-training, files and MLflow are in the end those of a training that was left alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import actors
import psutil
import pytest
import toy
import yaml
from mlflow import MlflowClient

from sgg_ray.config import Config
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.training.throughput import TIMED

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS = 60
# Steps; checkpoints are at 8, 16, ... One of them is enough for the gate, where each case takes about a minute.
MOMENTS = [
    pytest.param(step, marks=[] if step == 22 else pytest.mark.by_hand) for step in (1, 13, 22, 37, 50)
]
START_SECONDS = 600  # most that a training may take to its first steps on a busy machine
COMMAND = [sys.executable, "-c", "from sgg_ray.cli import main; main()", "train"]


AVERAGE = {"method": "auto", "budget": 2, "baseline": False}  # of two members
SECOND = "guided/"  # what its history's name begins with


def configure(settings, encoder, folder, **train) -> Config:
    changes = {
        "model": {"path": str(encoder)},
        "train": {
            "max_steps": STEPS,
            "learning_rate": 1e-4,
            "save_steps": 8,
            "logging_steps": 3,
            "baseline": True,
            **train,
        },
        "ray": {"storage_path": str(folder / "runs"), "task_workers": 1},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
    }
    return Config.model_validate(toy.merged(settings, changes))


def left_by(config: Config) -> dict[str, Any]:
    """Events of each run, metrics.json and MLflow's curves; how long steps took is left out."""
    folder = Path(config.ray.storage_path, config.name)
    events: dict[str, list] = {}
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        for name in TIMED:
            event.pop(name, None)
        events.setdefault(event.pop("run"), []).append(event)
    client = MlflowClient(tracking_uri=config.tracking.uri)
    run = client.get_run(json.loads((folder / "run.json").read_text())["mlflow_run_id"])
    curves = {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
        if not name.endswith(TIMED)
    }
    return {"events": events, "metrics": json.loads((folder / "metrics.json").read_text()), "curves": curves}


@pytest.fixture(scope="module")
def undisturbed(settings, still_encoder, tmp_path_factory):
    config = configure(settings, still_encoder, tmp_path_factory.mktemp("undisturbed"))
    train(config)
    found = left_by(config)
    assert [event["step"] for event in found["events"]["guided"]] == list(range(STEPS))
    assert [event["step"] for event in found["events"]["target-only"]] == list(range(STEPS))
    assert len(found["curves"]["loss"]) == len(found["curves"]["target-only/loss"]) == STEPS
    return found


def require_equal(found, undisturbed):
    for part in ("events", "curves", "metrics"):
        assert found[part] == undisturbed[part], part


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    "victim",
    [
        pytest.param("EventLog", marks=pytest.mark.by_hand),
        "RayTrainWorker",
        pytest.param("train_alone", marks=pytest.mark.by_hand),
        pytest.param("TrainController", marks=pytest.mark.by_hand),
        pytest.param("SynchronizationActor", marks=pytest.mark.by_hand),
    ],
)
def test_a_process_of_the_training_is_killed(undisturbed, settings, still_encoder, tmp_path, victim, moment):
    config = configure(settings, still_encoder, tmp_path)
    killed = []

    def strike():
        for process in actors.processes(victim)[:1]:
            actors.kill(process)
            killed.append(process.pid)

    train(config, actors.Recorder(at={moment: strike}))
    assert killed or victim == "train_alone"  # the baseline may have ended by then
    require_equal(left_by(config), undisturbed)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=pytest.mark.by_hand), signal.SIGTERM])
def test_the_driver_is_killed(undisturbed, settings, still_encoder, tmp_path, number, moment):
    def end(driver):
        begun = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(number)
        code = driver.wait(120)
        _, alive = psutil.wait_procs(begun, timeout=30)
        assert not alive
        return code

    # With SIGTERM there is no checkpoint but the one that is kept before the end.
    saves = {"save_steps": STEPS} if number == signal.SIGTERM else {}
    config, code, said = stopped_training(settings, still_encoder, tmp_path, moment, end, **saves)
    if number == signal.SIGTERM:
        assert code == 143, said
        (step,) = re.findall(r"^terminated; the same command goes on from step (\d+)$", said, re.MULTILINE)
        assert moment <= int(step) <= STEPS, said
        assert "SIGTERM received" not in said  # Ray's C++ stack trace
        assert "Traceback" not in said
    train(config)
    require_equal(left_by(config), undisturbed)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("victim", ["gcs_server", pytest.param("raylet", marks=pytest.mark.by_hand)])
def test_ray_itself_dies(undisturbed, settings, still_encoder, tmp_path, victim, moment):
    def end(driver):
        return actors.end_by_killing(driver, victim)

    config, code, said = stopped_training(settings, still_encoder, tmp_path, moment, end)
    actors.require_ray_died(victim, code, said)
    train(config)
    require_equal(left_by(config), undisturbed)


@pytest.fixture(scope="module")
def undisturbed_average(settings, still_encoder, tmp_path_factory):
    config = configure(settings, still_encoder, tmp_path_factory.mktemp("average"), **AVERAGE)
    train(config)
    found = left_by(config)
    runs = [[event["step"] for event in events if "step" in event] for events in found["events"].values()]
    assert runs == [list(range(STEPS))] * 2
    return found | {"probabilities": probabilities(config)}


def probabilities(config):
    return Path(config.ray.storage_path, config.name, "probabilities.npy").read_bytes()


def first_member(config):
    """Lines of the first member, with the seconds that its steps took: they tell whether it was trained again."""
    lines = Path(config.ray.storage_path, config.name, "events.jsonl").read_text().splitlines()
    return [line for line in lines if json.loads(line)["run"] == "guided"]


@pytest.mark.by_hand
@pytest.mark.parametrize("moment", [2, 37])
def test_a_worker_is_killed_while_the_second_member_of_an_average_is_trained(
    undisturbed_average, settings, still_encoder, tmp_path, moment
):
    config = configure(settings, still_encoder, tmp_path, **AVERAGE)
    before = []

    def strike():
        before.extend(first_member(config))
        actors.kill(actors.processes("RayTrainWorker")[0])

    train(config, actors.Recorder(at={moment: strike}, of=SECOND))
    assert len(before) == STEPS + 1  # and the choice
    assert first_member(config) == before
    require_equal(left_by(config), undisturbed_average)
    assert probabilities(config) == undisturbed_average["probabilities"]


@pytest.mark.by_hand
@pytest.mark.parametrize("moment", [1, 37])
def test_the_driver_is_killed_while_the_second_member_of_an_average_is_trained(
    undisturbed_average, settings, still_encoder, tmp_path, moment
):
    def end(driver):
        driver.send_signal(signal.SIGKILL)
        return driver.wait(120)

    run = f'"{SECOND}'
    config, *_ = stopped_training(settings, still_encoder, tmp_path, moment, end, run, **AVERAGE)
    before = first_member(config)
    train(config)
    assert len(before) == STEPS + 1
    assert first_member(config) == before
    require_equal(left_by(config), undisturbed_average)
    assert probabilities(config) == undisturbed_average["probabilities"]


def stopped_training(settings, still_encoder, tmp_path, moment, end, run='"guided"', **train):
    """Start the command, call ``end`` at a step; the configuration, exit code and what was printed."""
    config = configure(settings, still_encoder, tmp_path, **train)
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    log = tmp_path / "log"
    with open(log, "w") as output:
        driver = subprocess.Popen([*COMMAND, str(path)], stdout=output, stderr=output, env=environment)
    events = tmp_path / "runs" / config.name / "events.jsonl"
    deadline = time.monotonic() + START_SECONDS
    while not events.exists() or events.read_text().count(run) < moment:
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    code = end(driver)
    return config, code, log.read_text()
