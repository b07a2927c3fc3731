"""What all tests share: a quiet environment, a tiny model, tiny tasks, and configurations over them."""

import json
import os
import shutil
import signal

# Before any import that reads them. Workers that tests start inherit them.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
# Tests that interrupt themselves or others mean what a terminal does; in the background of a script SIGINT is ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import toy
import yaml

from sgg_ray.config import Config

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

MakeConfig = Callable[..., Config]
WriteConfig = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run what is marked slow")
    parser.addoption(
        "--by-hand", action="store_true", help="also run the many repeats that the gate leaves out"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--by-hand"):
        left = pytest.mark.skip(reason="one of many repeats: runs with --by-hand")
        for item in items:
            if "by_hand" in item.keywords:
                item.add_marker(left)
    if not config.getoption("--runslow"):
        skip = pytest.mark.skip(reason="slow: runs with --runslow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all of MLflow's tables and no run. Making one takes seconds, copying it none."""
    from sgg_ray.tracking.store import connect

    file = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    connect(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Path:
    """The same in the test's own folder, where ``make_config`` and others look for it."""
    return Path(shutil.copy(migrated, tmp_path / "mlflow.db"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random encoder with its tokenizer."""
    return toy.save_encoder(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def still_encoder(encoder, tmp_path_factory) -> Path:
    """The tiny encoder without dropout: what a batch is cut into then makes no difference."""
    folder = shutil.copytree(encoder, tmp_path_factory.mktemp("still") / "tiny-bert")
    settings = json.loads((folder / "config.json").read_text())
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(settings | off))
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of JSONL tasks: target, clean (like the target), other (other label names)."""
    folder = tmp_path_factory.mktemp("data")
    toy.write_rows(folder / "target.jsonl", toy.sentences(120, seed=1))
    toy.write_rows(folder / "clean.jsonl", toy.sentences(160, seed=2))
    toy.write_rows(folder / "other.jsonl", toy.sentences(160, seed=3, labels=("cold", "warm")))
    return folder


@pytest.fixture(scope="session")
def settings(encoder: Path, data: Path) -> dict[str, Any]:
    """The smallest sensible configuration: a target, a clean source, and its flipped copy."""
    clean = str(data / "clean.jsonl")
    return {
        "name": "toy",
        "model": {"path": str(encoder)},
        "target": {
            "path": str(data / "target.jsonl"),
            "labels": ["negative", "positive"],
            "shots": 8,
            "test": {"fraction": 0.4},
        },
        "sources": [
            {"name": "clean", "path": clean},
            {"name": "flipped", "path": clean, "flip_labels": 1.0},
        ],
        "train": {
            "max_steps": 8,
            "batch_size": 8,
            "source_batch_size": 8,
            "learning_rate": 1e-3,
            "head_learning_rate": 1e-2,
            "max_length": 24,
            "logging_steps": 2,
            "save_steps": 3,
            "calibration_folds": 0,
        },
        "ray": {"cpus_per_task_worker": 0.25},
    }


@pytest.fixture
def make_config(settings: dict[str, Any], tmp_path: Path) -> MakeConfig:
    """Make a Config: keywords go over the toy settings; outputs go to the test's own folder."""

    def make(**changes: Any) -> Config:
        outputs = {
            "ray": {"storage_path": str(tmp_path / "runs")},
            "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
        return Config.model_validate(toy.merged(toy.merged(settings, outputs), changes))

    return make


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama with its tokenizer."""
    return toy.save_language_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random T5 with its tokenizer, smooth and without dropout."""
    smooth = {"feed_forward_proj": "gated-gelu", "dropout_rate": 0.0}
    return toy.save_encoder_decoder(tmp_path_factory.mktemp("models") / "tiny-t5", **smooth)


@pytest.fixture(scope="session")
def generation(
    settings: dict[str, Any], lm: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The toy settings with a target and sources whose rows have completions: one clean, one with shuffled ones."""
    folder = tmp_path_factory.mktemp("pairs")
    target = str(toy.write_rows(folder / "target.jsonl", toy.answers(100, seed=1)))
    clean = str(toy.write_rows(folder / "clean.jsonl", toy.answers(160, seed=2)))
    return {
        **settings,
        "model": {"path": str(lm)},
        "target": {"kind": "generation", "path": target, "shots": 12, "test": {"fraction": 0.3}},
        "sources": [
            {"name": "clean", "kind": "generation", "path": clean},
            {"name": "shuffled", "kind": "generation", "path": clean, "shuffle_completions": 1.0},
        ],
        "train": {**settings["train"], "learning_rate": 1e-2, "max_length": 40, "max_new_tokens": 6},
    }


@pytest.fixture
def write_generation(generation: dict[str, Any], tmp_path: Path) -> WriteConfig:
    """Like ``write_config``, over the settings with completions."""
    return _writer(generation, tmp_path)


@pytest.fixture
def make_generation(generation: dict[str, Any], tmp_path: Path) -> MakeConfig:
    """Make a Config: keywords go over the settings with completions; outputs go to the test's own folder."""

    def make(**changes: Any) -> Config:
        outputs = {
            "ray": {"storage_path": str(tmp_path / "runs")},
            "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db", "traces": 0},
        }
        return Config.model_validate(toy.merged(toy.merged(generation, outputs), changes))

    return make


@pytest.fixture
def write_config(settings: dict[str, Any], tmp_path: Path) -> WriteConfig:
    """Like ``make_config``, but write the YAML file and return its path. A section of None is left out."""
    return _writer(settings, tmp_path)


def _writer(settings: dict[str, Any], tmp_path: Path) -> WriteConfig:
    def write(**changes: Any) -> Path:
        outputs = {
            "ray": {"storage_path": str(tmp_path / "runs")},
            "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
        content = toy.merged(toy.merged(settings, outputs), changes)
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


@pytest.fixture(scope="session")
def finished_run(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished training on the toy target, which has learnt it."""
    storage = {"ray": {"storage_path": str(tmp_path_factory.mktemp("finished") / "runs")}}
    train = {"train": {"max_steps": 40}, "sources": settings["sources"][:1]}
    return toy.finish_run(Config.model_validate(toy.merged(toy.merged(settings, storage), train)))
