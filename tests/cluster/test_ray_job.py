"""`ray job submit` of a pipeline against a running head: it runs there, its exit code and its words come back."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import leave_nothing
import pytest
import toy
import yaml
from running_head import RAY, RunningHead

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head of its own, with a job server."""
    with RunningHead(tmp_path_factory.mktemp("head")) as running:
        yield running


@pytest.fixture
def submit(head, settings, tmp_path):
    """Submit a pipeline over a toy configuration with changes; returns what the command printed and its exit code."""

    def run(pipeline: str, **changes):
        work = tmp_path / "work"
        shutil.copytree(PIPELINES, work / "pipelines")
        common = {
            "ray": {"storage_path": str(tmp_path / "runs")},
            "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
        content = toy.merged(toy.merged(settings, common), changes)
        (work / "toy.yaml").write_text(yaml.safe_dump(content))
        command = ["job", "submit", "--working-dir", str(work), "--", "python", f"pipelines/{pipeline}.py"]
        deadline = time.monotonic() + 120
        while True:
            done = subprocess.run(
                [*RAY, *command, "toy.yaml"],
                env=head.environment,
                capture_output=True,
                text=True,
                timeout=400,
            )
            # The head answers before its agent does, which starts jobs.
            if "No available agent" not in done.stderr or time.monotonic() > deadline:
                return done
            time.sleep(2)

    return run


def test_a_training_runs_in_the_cluster(submit, tmp_path):
    done = submit("train", train={"baseline": False})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "accuracy" in done.stdout
    assert (tmp_path / "runs" / "toy" / "metrics.json").exists()


def test_a_file_that_ray_did_not_send_fails_the_job_with_its_line(submit, tmp_path):
    (tmp_path / "work").mkdir()
    toy.write_rows(tmp_path / "work" / "ignored.jsonl", toy.sentences(40, seed=1))
    (tmp_path / "work" / ".gitignore").write_text("ignored.jsonl\n")
    done = submit("tune", target={"path": "ignored.jsonl"})
    assert done.returncode == 1  # Ray's for any job that failed
    said = " ".join((done.stdout + done.stderr).split())
    assert "ignored.jsonl does not exist;" in said
    assert "Ray does not send a job the files named in .gitignore" in said
    assert "exit code 2" in done.stdout + done.stderr  # the command's own


@pytest.mark.by_hand
def test_a_scoring_whose_driver_is_killed_leaves_nothing(head, tmp_path):
    found = leave_nothing.run(head, tmp_path, "score", "kill")
    assert found["exit"] == -signal.SIGKILL, "it had ended before it was killed"
    assert found["left"] == []


def test_a_command_that_is_killed_leaves_nothing_in_the_cluster(head, settings, tmp_path):
    """Nor does one that ends by itself, as those before this one did. leave_nothing.py tries the other cases."""
    assert head.left() == []
    common = {
        "ray": {"address": "auto", "storage_path": str(tmp_path / "runs")},
        "train": {"max_steps": 20000, "baseline": False},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    config, log = tmp_path / "toy.yaml", tmp_path / "log"
    config.write_text(yaml.safe_dump(toy.merged(settings, common)))
    with log.open("w") as output:
        driver = subprocess.Popen(
            [sys.executable, PIPELINES / "train.py", config],
            env=head.environment,
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + 240
    while "guided " not in log.read_text():  # training is under way
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert head.left()
    driver.kill()
    driver.wait(timeout=120)
    deadline = time.monotonic() + 120
    while left := head.left():
        assert time.monotonic() < deadline, left
        time.sleep(1)
