"""Runs in an object store: a real S3 server on loopback, drivers that are killed, and the same commands again."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import toy
import yaml
from ports import free_port
from pyarrow.fs import FileSelector, FileSystem, FileType

from sgg_ray.artifacts import open_run
from sgg_ray.config import load_config
from sgg_ray.tasks import load_tasks
from sgg_ray.training import run_training

pytestmark = [pytest.mark.ray, pytest.mark.slow]
COMMAND = [sys.executable, "-c", "from sgg_ray.cli import main; main()"]
STORAGE = "s3://bucket/runs"


@pytest.fixture(scope="module")
def s3():
    """An S3 server with an empty bucket; the environment in which it is found, and its file system."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=5)
            break
        except OSError:
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
    found = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = dict(os.environ)
    os.environ.update(found)
    filesystem, _ = FileSystem.from_uri(STORAGE)
    yield {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}, filesystem
    os.environ.clear()
    os.environ.update(before)
    server.kill()
    server.wait()


@pytest.fixture
def kill_and_repeat(s3, settings, still_encoder, tmp_path):
    """Kill a command when something is in the bucket, and give it again; returns its settings and what it printed."""
    environment, _ = s3

    def run(verb: str, is_time, **changes):
        common = {
            "name": verb,
            "model": {"path": str(still_encoder)},
            "ray": {"storage_path": STORAGE, "task_workers": 1},
            "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
        config = tmp_path / f"{verb}.yaml"
        config.write_text(yaml.safe_dump(toy.merged(toy.merged(settings, common), changes)))
        command = [*COMMAND, verb, str(config), "--name", verb]
        with (tmp_path / "first.log").open("w") as log:
            driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 400  # starting everything, on a machine that others use
        while not is_time():
            assert driver.poll() is None, (tmp_path / "first.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        again = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert again.returncode == 0, again.stdout + again.stderr
        assert f"{STORAGE}/{verb}" in again.stdout
        return load_config(config), again.stdout

    return run


def read(s3, path: str) -> bytes:
    with s3[1].open_input_stream(f"bucket/runs/{path}") as stream:
        return stream.read()


def test_a_killed_training_goes_on_from_the_bucket(s3, kill_and_repeat, tmp_path):
    steps = {"max_steps": 120, "save_steps": 15, "logging_steps": 1, "baseline": False, "learning_rate": 1e-4}
    snapshot = "bucket/runs/train/ray_train/checkpoint_manager_snapshot.json"  # a checkpoint is there
    config, printed = kill_and_repeat(
        "train", lambda: s3[1].get_file_info(snapshot).type == FileType.File, train=steps
    )
    assert "resuming this run" in printed
    record = json.loads(read(s3, "train/run.json"))
    assert (record["status"], len(record["resumed"])) == ("finished", 1)
    events = [json.loads(line) for line in read(s3, "train/events.jsonl").splitlines()]
    seen = [event["step"] for event in events if "step" in event]
    assert seen.count(0) <= 1  # training did not start again
    assert seen[-1] == 119
    target, sources = load_tasks(config)
    weights = {row["source"]: row["weight"] for row in json.loads(read(s3, "train/scores.json"))["sources"]}
    alone = run_training(config, target, sources, weights, torch.device("cpu"))
    (tmp_path / "probabilities.npy").write_bytes(read(s3, "train/probabilities.npy"))
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), alone.probabilities, atol=1e-4)
    assert s3[1].get_file_info("bucket/runs/train/ray_train").type == FileType.NotFound
    assert not list(tmp_path.glob("**/run.json"))  # nothing of the run lies where the command was given

    predicted = open_run(f"{STORAGE}/train").predict(target.test.texts)
    np.testing.assert_allclose(
        predicted[[f"p_{name}" for name in target.labels]].to_numpy(), alone.probabilities, atol=1e-4
    )


@pytest.mark.by_hand
def test_a_killed_sweep_goes_on_from_the_bucket(s3, kill_and_repeat, tmp_path):
    def one_has_ended() -> bool:
        """As the project's own record has it, which the sweep goes on from."""
        name = "bucket/runs/tune/kept_trials.json"
        if s3[1].get_file_info(name).type != FileType.File:
            return False
        trials = json.loads(s3[1].open_input_stream(name).read())
        return any(len(trial["trainings"]) == 2 for trial in trials.values())

    space = {"guidance.lambda_direction": {"choice": [0.01, 0.1, 0.5, 1.0]}}
    tune = {"search": "grid", "folds": 2, "max_concurrent_trials": 1, "space": space}
    _, printed = kill_and_repeat("tune", one_has_ended, tune=tune, sources=[], train={"max_steps": 60})
    assert "finished trials are kept, the others resume" in printed
    (tmp_path / "trials.parquet").write_bytes(read(s3, "tune/trials.parquet"))
    frame = pandas.read_parquet(tmp_path / "trials.parquet")
    assert sorted(frame.trial) == [1, 2, 3, 4]
    assert set(frame.status) == {"finished"}
    assert json.loads(read(s3, "tune/run.json"))["status"] == "finished"
    assert s3[1].get_file_info("bucket/runs/tune/ray_tune").type == FileType.NotFound


def test_a_bucket_that_is_not_there_is_said_before_anything_starts(s3, settings, tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(toy.merged(settings, {"ray": {"storage_path": "s3://elsewhere/runs"}})))
    done = subprocess.run(
        [*COMMAND, "train", str(config)], cwd=tmp_path, env=s3[0], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2
    assert "ray.storage_path: there is no bucket 'elsewhere'" in done.stderr
    assert "starting Ray" not in done.stdout


@pytest.fixture
def short_folder():
    """For Ray's sockets, whose paths may not be long."""
    with tempfile.TemporaryDirectory(prefix="sgg") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_keys_in_addresses_are_nowhere(s3, settings, still_encoder, tmp_path, short_folder):
    """Neither in the bucket nor in MLflow nor in the logs of Ray nor on the terminal."""
    environment, filesystem = s3
    endpoint = environment["AWS_ENDPOINT_URL"].removeprefix("http://").replace(":", "%3A")
    changes = {
        "name": "secret",
        "model": {"path": str(still_encoder)},
        "ray": {
            "storage_path": f"s3://PLAINKEY:plainsecret77@bucket/runs?scheme=http&endpoint_override={endpoint}"
            "&region=us-east-1",
            "task_workers": 1,
        },
        "tracking": {"uri": "sqlite:///${SGG_TEST_FOLDER}/mlflow.db"},
    }
    config = tmp_path / "secret.yaml"
    config.write_text(yaml.safe_dump(toy.merged(settings, changes)))
    folder = tmp_path / "mlflow"
    folder.mkdir()
    own = {
        **{name: value for name, value in environment.items() if not name.startswith("AWS_")},
        "AWS_EC2_METADATA_DISABLED": "true",
        "SGG_TEST_FOLDER": str(folder),
        "RAY_TMPDIR": str(short_folder),
    }
    done = subprocess.run(
        [*COMMAND, "score", str(config), "--debug"],
        cwd=tmp_path,
        env=own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ray.storage_path: its password is not stored" in done.stdout
    found = {"terminal": (done.stdout + done.stderr).encode()}
    infos = filesystem.get_file_info(FileSelector("bucket/runs/secret-score", recursive=True))
    for info in infos:
        if info.type == FileType.File:
            found[info.path] = filesystem.open_input_stream(info.path).read()
    for place in (folder, short_folder, tmp_path / "mlruns"):
        found |= {str(file): file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert any(name.endswith("config.yaml") for name in found)
    assert any("mlflow.db" in name for name in found)
    for secret in (b"PLAINKEY", b"plainsecret77"):
        assert [name for name, content in found.items() if secret in content] == []
    assert b"sqlite:///${SGG_TEST_FOLDER}/mlflow.db" in found["bucket/runs/secret-score/config.yaml"]
