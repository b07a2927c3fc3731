import csv
import io
import json
from pathlib import Path

import pytest
from reviews import reviews

from sgg_ray.config import Config
from sgg_ray.errors import DataError
from sgg_ray.tasks import load_tasks

Row = tuple[str, object]


def as_csv(rows: list[Row], header=("text", "label")) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def as_jsonl(rows: list[Row]) -> str:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)


@pytest.fixture
def write(tmp_path):
    """Write a file into the test's folder: rows by the suffix, text or bytes as they are."""

    def run(name: str, content) -> str:
        file: Path = tmp_path / name
        if isinstance(content, list):
            content = as_jsonl(content) if name.endswith(".jsonl") else as_csv(content)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(file)

    return run


@pytest.fixture
def configure(write):
    """A configuration with a sound target of 40 rows unless the test gives another."""

    def run(sources=(), seed=0, **target) -> Config:
        if "path" not in target:
            target["path"] = write("target.csv", reviews(40))
        target.setdefault("shots", 4)
        data = {
            "name": "t",
            "seed": seed,
            "model": {"path": "a/b"},
            "target": target,
            "sources": list(sources),
        }
        return Config.model_validate(data)

    return run


@pytest.fixture
def problems():
    """The lines of the error that reading the tasks of a configuration ends with."""

    def run(config: Config) -> list[str]:
        with pytest.raises(DataError) as caught:
            load_tasks(config)
        assert caught.value.exit_code == 2
        assert all(line.strip() and "\n" not in line for line in caught.value.problems)
        return list(caught.value.problems)

    return run
