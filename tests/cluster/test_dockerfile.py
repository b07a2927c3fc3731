"""The Dockerfile's steps are of this project: what it copies is there, what it installs is what pyproject.toml says.

There is no Docker here. By hand, the same steps run in an environment of their own in place of the image.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
HOME = "/home/ray"


@pytest.fixture(scope="module")
def steps():
    """(instruction, text) of each step, lines that go on joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def arguments(steps):
    return dict(text.split("=", 1) for kind, text in steps if kind == "ARG" and "=" in text)


def copied(steps):
    """Source and place of each file or folder that is copied."""
    for kind, text in steps:
        if kind == "COPY":
            *sources, place = [part for part in text.split() if not part.startswith("--")]
            yield from ((source, place) for source in sources)


def required(project, name):
    return next(found for line in project["dependencies"] if (found := Requirement(line)).name == name)


def test_the_image_is_of_the_ray_that_is_required(steps, project):
    (image,) = [text for kind, text in steps if kind == "FROM"]
    assert image == "rayproject/ray:${RAY}-py311-${DEVICE}"
    version = arguments(steps)["RAY"]
    assert version in required(project, "ray").specifier
    named = yaml.safe_load((ROOT / "cluster.yaml").read_text())["docker"]["image"]
    assert named == f"rayproject/ray:{version}-py311-cu128"


def test_what_is_copied_is_there_and_sent(steps):
    sources = [source for source, _ in copied(steps)]
    assert {"pyproject.toml", "README.md", "LICENSE", "sgg_ray"} <= set(sources)
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    for source in sources:
        assert (ROOT / source).exists()
        assert source in sent


def test_what_is_installed_is_what_the_project_asks_for(steps, project):
    commands = " ".join(text for kind, text in steps if kind == "RUN")
    torch = Requirement(re.search(r'"(torch[^"]*)"', commands)[1])
    assert torch.specifier == required(project, "torch").specifier
    assert arguments(steps)["EXTRAS"] in project["optional-dependencies"]
    for file in ("cluster.yaml", "pipelines/configs/kuberay.yaml", "Dockerfile"):
        told = re.findall(r"--build-arg (\w+)=", (ROOT / file).read_text())
        assert told
        assert set(told) <= set(arguments(steps))


@pytest.mark.slow
@pytest.mark.by_hand
@pytest.mark.timeout(2400)
def test_the_steps_work_in_an_environment_of_their_own(steps, tmp_path):
    """Takes minutes, and packages from an index. PyTorch's own index is left out, which not everybody reaches."""
    home = tmp_path / "home"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    for source, place in copied(steps):
        target = home / place
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
    ignored = ("PYTHONPATH", "RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in ignored}
    environment |= {"PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}"} | arguments(steps)
    for kind, text in steps:
        if kind == "RUN":
            text = text.replace("--index-url https://download.pytorch.org/whl/cpu", "")
            subprocess.run(["sh", "-ec", text], cwd=home, env=environment, check=True)
    sgg = str(tmp_path / "venv" / "bin" / "sgg")
    config = home / "sgg_ray" / "pipelines" / "configs" / "quickstart.yaml"
    done = subprocess.run(
        [sgg, "train", config, "--dry-run"], cwd=home, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
