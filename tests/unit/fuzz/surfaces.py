"""What is fuzzed: a sound file, and the call that reads it. Whatever comes out, it is a result or one line."""

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import toy
import yaml
from mutations import of_bytes, of_values

from sgg_ray.artifacts import RunFolder, open_run
from sgg_ray.config import Config, ModelConfig, load_config
from sgg_ray.errors import LONGEST_LINE, SggError
from sgg_ray.models import check_model, load_model
from sgg_ray.tasks import load_tasks

SECONDS = 10.0  # of processor time for a file
YAML = {
    "model": {"path": "m", "adapter": {"peft_type": "lora", "r": 4}},
    "target": {"path": "t.csv", "shots": 4, "test": {"fraction": 0.5}, "labels": {"a": 0, "b": 1}},
    "sources": [{"name": "s", "path": "s.csv", "limit": 9, "where": {"x": ["a", 1]}}],
    "guidance": {"lambda_direction": 0.1},
    "train": {"max_steps": 3},
    "tune": {"space": {"guidance.lambda_direction": {"uniform": [0.1, 1]}}},
    "compare": {
        "strategies": [{"name": "one", "train": {"max_steps": 2}}],
        "vary": {"train.max_steps": [1, 2]},
    },
    "ray": {"storage_path": "runs"},
    "tracking": {"uri": "sqlite:///x.db"},
}

Attempt = Callable[[random.Random], None]


def attempted(read: Callable[[], object]) -> None:
    """Call it; a deliberate error has to be lines of a bounded length, and nothing may take long."""
    started = time.process_time()
    problems: tuple[str, ...] = ()
    try:
        read()
    except SggError as error:
        problems = error.problems
    assert not any("\n" in line or len(line) > LONGEST_LINE for line in problems)
    assert time.process_time() - started < SECONDS


def surfaces(folder: Path, config: Config, run: Path) -> dict[str, Attempt]:
    """The surfaces by name.

    Args:
        folder: an empty one to write in.
        config: of toy tasks and a toy model.
        run: folder of a finished training.
    """
    tables = {name: pd.DataFrame(toy.sentences(40, 1)) for name in ("t.csv", "t.jsonl", "t.parquet")}
    files = {}
    for name, frame in tables.items():
        path = folder / f"sound-{name}"
        if name.endswith("csv"):
            frame.to_csv(path, index=False)
        elif name.endswith("jsonl"):
            toy.write_rows(path, frame.to_dict("records"))
        else:
            frame.to_parquet(path)
        files[name] = path.read_bytes()
    model, copy = Path(config.model.path), folder / "model"
    changed = folder / "runs" / run.name

    def yaml_text(draw: random.Random) -> None:
        (folder / "c.yaml").write_bytes(of_bytes(yaml.safe_dump(YAML).encode(), draw))
        attempted(lambda: load_config(folder / "c.yaml"))

    def yaml_values(draw: random.Random) -> None:
        (folder / "c.yaml").write_text(yaml.safe_dump(of_values(YAML, draw)), encoding="utf-8")
        attempted(lambda: load_config(folder / "c.yaml"))

    def table(name: str) -> Attempt:
        def attempt(draw: random.Random) -> None:
            (folder / name).write_bytes(of_bytes(files[name], draw))
            target = config.target.model_copy(update={"path": str(folder / name)})
            attempted(lambda: load_tasks(config.model_copy(update={"target": target, "sources": []})))

        return attempt

    def model_settings(draw: random.Random) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(model, copy)
        file = copy / draw.choice(("config.json", "tokenizer_config.json", "tokenizer.json"))
        if draw.random() < 0.5:
            file.write_text(json.dumps(of_values(json.loads(file.read_text()), draw)))
        else:
            file.write_bytes(of_bytes(file.read_bytes(), draw))
        attempted(lambda: check_model(ModelConfig.model_validate({"path": str(copy)}), 32))

    def run_folder(draw: random.Random) -> None:
        shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(run, changed)
        names = ("run.json", "config.yaml", "model/sgg_model.json", "model/heads.safetensors")
        file = changed / draw.choice(names)
        if file.suffix == ".json" and draw.random() < 0.6:
            file.write_text(json.dumps(of_values(json.loads(file.read_text()), draw)))
        else:
            file.write_bytes(of_bytes(file.read_bytes(), draw))
        attempted(lambda: open_run(changed))
        attempted(lambda: RunFolder(changed.parent, changed.name).check(config))
        if (changed / "model").is_dir():
            attempted(lambda: load_model(changed / "model"))

    return {
        "yaml text": yaml_text,
        "yaml values": yaml_values,
        **{name: table(name) for name in tables},
        "model settings": model_settings,
        "run folder": run_folder,
    }
