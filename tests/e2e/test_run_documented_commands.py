"""The command lines of the README and the documentation, run as they stand there, by a shell.

Two stories: a newcomer's, with the example of ``sgg init`` and the real model; and that of the pages about sweeps,
comparisons and use, with a toy task where they have the quick start's. What is not run is listed with the reason.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import toy
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^    ((?:python|sgg|ray|mlflow|curl|export) .*)$", flags=re.MULTILINE)

# What is not run here, by a part of the line.
ELSEWHERE = {
    "pip install": "installs packages: the gate does so before it runs tests",
    "ray job submit": "tests/cluster/test_ray_job.py submits to a head of its own",
    "mlflow models serve": "tests/unit/tracking/test_logged_model.py serves a model and asks it over HTTP",
    "curl localhost:5001": "the same",
    "export MLFLOW_TRACKING_URI": "the same",
    "lose_a_node.py": "tests/cluster/test_lose_a_node.py runs it",
    "python benchmarks/": "minutes to hours, many of them on a GPU: run by hand, the page tells the machine",
    "python studies/": "research: hours of trainings",
    "sgg compare studies/": "the same",
    "pip download": "the data of such a study",
    "gpus_per_worker": "needs a GPU",
    "sgg serve": "tests/ray/test_serve.py starts a server and asks it",
    "curl localhost:8000": "the same",
    "--lm-eval": "tests/unit/artifacts/test_lm_eval_task.py writes the task and has it read",
    "--source imdb": "the toy task has no such source; tests/ray/test_rows.py exports one",
    "llm": "needs a model of 135 M parameters; tests/ray/test_train_language_model.py trains a toy one",
    "--name rates": "a search over hours; its parts are those of the line that is run",
    "compare.seeds=10": "thousands of cells",
    "train runs/quickstart/config.yaml": "trains anew what was trained",
}
NEWCOMER = "index.md"
WITH_TOYS = (  # in this order: page, beginning of the line
    ("data.md", "sgg data pipelines/configs/quickstart.yaml"),
    ("rows.md", "sgg score pipelines/configs/quickstart.yaml --rows"),
    ("rows.md", "sgg rows quickstart-rows"),
    ("sweeps.md", "sgg tune pipelines/configs/quickstart.yaml"),
    ("comparison.md", "sgg compare pipelines/configs/compare.yaml"),
    ("comparison.md", "sgg train sgg.yaml --strategy auto"),
    ("use.md", "sgg predict quickstart"),
    ("use.md", "sgg export quickstart"),
)


def lines() -> list[tuple[str, str]]:
    """(page, line) of everything that is there to be copied, without comments."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += [(page.name, re.split(r"  +#", line)[0].strip()) for line in COMMAND.findall(text)]
    return found


def why_not(line: str) -> str | None:
    return next((reason for part, reason in ELSEWHERE.items() if part in line), None)


def shell(folder: Path, *commands: str) -> str:
    """Run lines one after the other in one shell; what they print. A line that fails is an error."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    script = "set -e\n" + "\n".join(f"echo '$' {json.dumps(line)}\n{line}" for line in commands)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=1100
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
    return done.stdout


def test_every_line_is_run_or_has_a_reason_not_to():
    run = {("README.md", "python -m pytest")} | set(WITH_TOYS)
    for page, line in lines():
        ran = page == NEWCOMER or any(page == where and line.startswith(start) for where, start in run)
        assert ran or why_not(line), f"{page}: {line}"
    for page, start in WITH_TOYS:
        assert any(page == where and line.startswith(start) for where, line in lines()), start


# Behind the lines of a command: what lasts long and shows nothing more.
SHORTER = " --set train.max_steps=20 --set train.calibration_folds=0"
FEWER = " --set tune.num_samples=4"


@pytest.mark.slow
@pytest.mark.parametrize(
    "added", [pytest.param(SHORTER, id="shorter"), pytest.param("", id="whole", marks=pytest.mark.by_hand)]
)
def test_a_newcomers_first_hour(tmp_path, added):
    """init, doctor, score, train, predict: the lines of the first page; then its line over files of one's own."""
    story = [line for page, line in lines() if page == NEWCOMER and not why_not(line)]
    assert [line.split()[1] for line in story] == ["init", "doctor", "score", "train", "predict", "init"]
    *example, own = story
    printed = shell(tmp_path, *(line + added * line.startswith("sgg train") for line in example))
    folder = tmp_path / "my-task"
    assert "all checks passed" in printed
    assert "Alignment of 2 sources with orders" in printed
    assert printed.splitlines()[-1] == "written to labelled.csv"
    assert len(pd.read_csv(folder / "labelled.csv")) == 64
    assert json.loads((folder / "runs/sgg/metrics.json").read_text())["guided"]["accuracy"] > 0.6

    for name, origin in (("data.csv", "orders"), ("older.csv", "hotels")):
        pd.read_json(folder / f"{origin}.jsonl", lines=True).to_csv(tmp_path / name, index=False)
    shutil.copy(folder / "news.jsonl", tmp_path / "other.jsonl")
    elsewhere = own.replace("my-task", "own-task")
    shell(tmp_path, elsewhere, "sgg train own-task/sgg.yaml --dry-run")


@pytest.fixture
def with_toys(settings, finished_run, tmp_path) -> Path:
    """A folder in which toy tasks have the names that the pages use."""
    configs = tmp_path / "pipelines" / "configs"
    configs.mkdir(parents=True)
    common = toy.merged(settings, {"name": "quickstart", "train": {"max_steps": 4}})
    (configs / "quickstart.yaml").write_text(yaml.safe_dump(common))
    (tmp_path / "sgg.yaml").write_text(yaml.safe_dump(toy.merged(common, {"name": "own"})))
    grid = {"name": "grid", "compare": {"strategies": ["full", "sgg"], "shots": [4], "seeds": 1}}
    (configs / "compare.yaml").write_text(yaml.safe_dump(toy.merged(common, grid)))
    run = shutil.copytree(finished_run, tmp_path / "runs" / "quickstart")
    assert (run / "model").is_dir()
    toy.write_rows(tmp_path / "new.jsonl", toy.sentences(20, seed=5))
    pd.read_json(tmp_path / "new.jsonl", lines=True).to_csv(tmp_path / "new.csv", index=False)
    return tmp_path


@pytest.mark.slow
def test_sweep_comparison_prediction_and_export(with_toys):
    chosen = [
        line
        for where, start in WITH_TOYS
        for page, line in lines()
        if page == where and line.startswith(start) and not why_not(line)
    ]
    assert len(chosen) == len(WITH_TOYS)
    printed = shell(with_toys, *(line + FEWER * line.startswith("sgg tune") for line in chosen))
    assert "sgg train runs/quickstart-tune/best.yaml" in printed
    assert len(pd.read_parquet(with_toys / "runs/quickstart-tune/trials.parquet")) == 4
    assert (with_toys / "runs/quickstart-rows/rows.html").exists()
    assert (with_toys / "runs/grid-compare/compare.md").exists()
    assert (with_toys / "runs/own/metrics.json").exists()
    assert len(pd.read_parquet(with_toys / "labelled.parquet")) == 20
    assert (with_toys / "exported" / "README.md").exists()
