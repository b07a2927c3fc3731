"""What a user gets who has no clone: the built wheel in an environment of its own, used outside the repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import toy
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("RAY_ADDRESS", "PYTHONPATH", "PYTHONHOME")
}


def run(*command: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what is built: nothing of an earlier build can come along, and the clone stays as it is."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    shutil.copytree(ROOT / "sgg_ray", source / "sgg_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return source


@pytest.fixture(scope="module")
def wheel(source) -> Path:
    folder = source.parent
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder of the programs of an environment with the wheel alone.

    What sgg_ray depends on is looked up where these tests found it, after the environment's own packages: the
    several gigabytes of PyTorch and others are not fetched again.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", programs / "python")
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    own = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    shared = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    Path(own.stdout.strip(), "dependencies.pth").write_text("\n".join(shared) + "\n")
    return programs


@pytest.fixture
def desk(settings, tmp_path) -> Path:
    """An empty folder with a configuration over toy tasks, and nothing of the repository near it."""
    changes = {
        "train": {"max_steps": 4},
        "ray": {"storage_path": "runs", "task_workers": 1},
        "compare": {"strategies": ["full", "sgg"], "shots": [4], "seeds": 1, "max_concurrent_cells": 1},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(toy.merged(settings, changes)))
    assert ROOT not in tmp_path.parents
    return tmp_path


def test_wheel_and_sdist_can_be_published(source, wheel):
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, source.parent, cwd=source)
    (sdist,) = source.parent.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=source.parent)
    with tarfile.open(sdist) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    with zipfile.ZipFile(wheel) as unpacked:
        inside_wheel = set(unpacked.namelist())
    needed = {"sgg_ray/py.typed", "sgg_ray/report/page.html", "sgg_ray/strategies/sgg.yaml"}
    assert needed <= inside
    assert needed <= inside_wheel
    assert {"LICENSE", "README.md", "pyproject.toml"} <= inside


def test_the_package_is_the_wheels(installed, desk):
    where = "import sgg_ray, importlib.metadata as m; print(sgg_ray.__file__); print(m.version('sgg-ray'))"
    file, version = run(installed / "python", "-c", where, cwd=desk).stdout.splitlines()
    assert installed.parent in Path(file).parents
    assert run(installed / "sgg", "--version", cwd=desk).stdout.strip() == f"sgg_ray {version}"


def test_every_command_works_without_a_clone(installed, desk):
    sgg = installed / "sgg"
    run(sgg, "init", "example", cwd=desk)
    run(sgg, "train", "example/sgg.yaml", "--dry-run", cwd=desk)

    scored = json.loads(run(sgg, "score", "toy.yaml", "--json", cwd=desk).stdout)
    assert [source["source"] for source in scored["sources"]] == ["clean", "flipped"]

    run(sgg, "train", "toy.yaml", "--name", "toy", cwd=desk)
    assert json.loads((desk / "runs/toy/run.json").read_text())["status"] == "finished"

    compared = json.loads(run(sgg, "compare", "toy.yaml", "--json", cwd=desk).stdout)
    assert [row["strategy"] for row in compared["rows"]] == ["full", "sgg"]
    assert (desk / "runs/toy-compare/compare.md").exists()


def test_an_unknown_strategy_is_one_line(installed, desk):
    content = yaml.safe_load((desk / "toy.yaml").read_text())
    content["compare"]["strategies"] = ["fulll", "sgg"]
    (desk / "toy.yaml").write_text(yaml.safe_dump(content))
    done = run(installed / "sgg", "compare", "toy.yaml", cwd=desk, code=2)
    assert done.stderr.splitlines() == [
        "error: compare.strategies: there is no strategy 'fulll'; did you mean 'full'?"
    ]
