"""`ray job submit` of a pipeline against a running head: it runs there, its exit code and its words come back."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import toy
import yaml

pytestmark = pytest.mark.ray
PIPELINES = Path(__file__).parents[2] / "pipelines"
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head of its own, with a job server; gives the environment in which jobs are submitted to it."""
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.write_text("a-token-of-this-test-alone-0123456789")
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    options = ["--head", "--block", "--num-cpus=2", "--disable-usage-stats", f"--port={free_port()}"]
    options += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
    options += [f"--ray-client-server-port={free_port()}"]
    log = (folder / "head.log").open("w")
    process = subprocess.Popen(
        [*RAY, "start", *options], env=environment, stdout=log, stderr=log, start_new_session=True
    )
    environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while subprocess.run([*RAY, "job", "list"], env=environment, capture_output=True).returncode:
        assert process.poll() is None, (folder / "head.log").read_text()
        assert time.monotonic() < deadline, "the head does not answer"
        time.sleep(1)
    yield environment
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for part in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            part.kill()
    psutil.wait_procs(tree, timeout=30)
    process.wait()
    log.close()


@pytest.fixture
def submit(head, settings, tmp_path):
    """Submit a pipeline over a toy configuration with changes; returns what the command printed and its exit code."""

    def run(pipeline: str, **changes):
        work = tmp_path / "work"
        shutil.copytree(PIPELINES, work / "pipelines")
        common = {
            "ray": {"storage": str(tmp_path / "runs")},
            "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
        content = toy.merged(toy.merged(settings, common), changes)
        (work / "toy.yaml").write_text(yaml.safe_dump(content))
        command = ["job", "submit", "--working-dir", str(work), "--", "python", f"pipelines/{pipeline}.py"]
        return subprocess.run(
            [*RAY, *command, "toy.yaml"], env=head, capture_output=True, text=True, timeout=400
        )

    return run


def test_a_training_runs_in_the_cluster(submit, tmp_path):
    done = submit("train", train={"baseline": False})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "accuracy" in done.stdout
    assert (tmp_path / "runs" / "toy" / "metrics.json").exists()


def test_a_wrong_file_fails_the_job_with_its_line(submit):
    done = submit("tune", target={"shots": 5000})
    assert done.returncode != 0
    assert "target.shots" in done.stdout + done.stderr
