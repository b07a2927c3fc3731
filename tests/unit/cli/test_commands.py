"""Commands that need no Ray: help, schema, dry runs, and how quickly the package loads."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, load_config

PIPELINES = Path(__file__).parents[3] / "pipelines"
HEAVY = ("torch", "ray", "transformers", "pandas", "datasets", "mlflow", "peft", "matplotlib", "sklearn")

INVOKE = "from typer.testing import CliRunner; from sgg_ray.cli import app; CliRunner().invoke"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True
    )


def loaded_by(code: str) -> list[str]:
    """Which of the heavy packages are loaded once ``code`` has run."""
    found = run("-c", f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))")
    return found.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "code",
    [
        "import sgg_ray",
        "import sgg_ray.config",
        "import sgg_ray.errors",
        "import sgg_ray.cli",
        f"{INVOKE}(app, ['--help'])",
        f"{INVOKE}(app, ['config', 'schema'])",
        f"import os, tempfile; os.chdir(tempfile.mkdtemp()); {INVOKE}(app, ['init'])",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    assert loaded_by(code) == []


@pytest.mark.parametrize("code", ["import sgg_ray", "from sgg_ray.cli import main; main()"])
def test_help_comes_within_a_second(code):
    """Of processor time, the best of three: the machine has other work."""

    def seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run("-c", code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    code = f"import sys; sys.argv[1:] = ['--help']\ntry:\n    exec({code!r})\nexcept SystemExit:\n    pass"
    assert min(seconds(code) for _ in range(3)) < 1.0


@pytest.mark.parametrize(
    "arguments", [(), ("--help",), ("score", "--help"), ("train", "--help"), ("config", "--help")]
)
def test_help_is_there(sgg, arguments):
    result = sgg(*arguments)
    assert result.exit_code in ((0,) if arguments else (0, 2))
    assert "Usage" in result.output
    assert "Traceback" not in result.output


def test_the_schema_is_the_configurations(sgg):
    result = sgg("config", "schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == Config.model_json_schema()


@pytest.mark.parametrize("verb", ["score", "train"])
def test_a_dry_run_checks_everything_and_starts_and_writes_nothing(sgg, no_ray, here, write_config, verb):
    path = write_config()
    before = sorted(here.rglob("*"))
    result = sgg(verb, path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "8 shots per class" in result.stdout
    assert "clean, flipped" in result.stdout
    assert "flip_labels" in result.stdout  # what was noticed about the rows
    assert result.stderr == ""
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("verb", ["score", "train"])
def test_a_dry_run_finds_bad_input(refused, write_config, verb):
    wrong = write_config(target={"labels": ["negative", "positive", "mixed"]})
    assert "target.shots: no row of class mixed" in refused(verb, wrong, "--dry-run")


def test_a_dry_run_looks_at_the_run_folder_and_the_sources_too(refused, write_config):
    path = write_config()
    config = load_config(path)
    folder = RunFolder(config.ray.storage_path, config.name)
    folder.begin(config)
    folder.finish()
    assert "is finished" in refused("train", path, "--dry-run")
    assert "nothing to score" in refused("score", write_config(sources=[]), "--dry-run")


@pytest.mark.parametrize("verb", ["score", "train"])
def test_json_keeps_stdout_for_one_document(sgg, no_ray, write_config, verb):
    result = sgg(verb, write_config(), "--dry-run", "--json")
    assert result.exit_code == 0
    plan = json.loads(result.stdout)
    assert plan["sources"] == "clean, flipped"
    assert "reading tasks" in result.stderr


def test_overrides_and_name_reach_the_run(sgg, write_config, monkeypatch):
    seen = []

    def take(config, listener, rows=False):
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("sgg_ray.orchestration.train.train_driver.train", take)
    path = write_config()
    sgg("train", path, "--set", "train.max_steps=3", "--set", "sources.clean.max_rows=10", "--name", "other")
    expected = load_config(path, ["train.max_steps=3", "sources.clean.max_rows=10"], "other")
    assert seen == [expected]
    assert (expected.train.max_steps, expected.sources[0].max_rows, expected.name) == (3, 10, "other")


def test_a_scoring_has_a_folder_of_its_own_unless_named(sgg, write_config, monkeypatch):
    names = []

    def take(config, listener, rows=False):
        names.append(config.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("sgg_ray.orchestration.score.score_driver.score", take)
    sgg("score", write_config())
    sgg("score", write_config(), "--name", "mine")
    assert names == ["toy-score", "mine"]


@pytest.mark.parametrize("verb", ["score", "train"])
def test_the_pipelines_are_the_commands(verb):
    result = run(str(PIPELINES / f"{verb}.py"), "--help")
    assert f"Usage: sgg {verb} [OPTIONS]" in result.stdout
