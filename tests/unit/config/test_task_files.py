"""The files of pipelines/configs/tasks read rows of the columns that they name, and ask what they promise."""

from pathlib import Path

import pytest
import toy

from sgg_ray.config import as_list, load_config
from sgg_ray.models import load_tokenizer
from sgg_ray.models.prompts import Prompter
from sgg_ray.tasks import load_tasks

FILES = sorted((Path(__file__).parents[3] / "pipelines" / "configs" / "tasks").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_task_file_is_sound(file, lm, tmp_path):
    entry = load_config(file).target
    labels = entry.labels
    values = list(labels.values()) if isinstance(labels, dict) else list(labels or ())
    columns = as_list(entry.columns.text)
    rows = [
        {**{name: f"{name} word{n}" for name in columns}, entry.columns.label: values[n % len(values)]}
        for n in range(60)
    ]
    path = toy.write_rows(tmp_path / "rows.jsonl", rows)
    changes = [f"target.path={path}", "target.split=train", "target.test={fraction: 0.2}", "target.shots=4"]
    target, _ = load_tasks(load_config(file, changes))
    assert len(target.train) == 4 * len(target.labels)
    assert set(target.fields) == set(columns)
    prompter = Prompter(load_tokenizer(str(lm)), False, 128)
    asked = prompter.write(target, target.train.texts[0])
    assert all(part in asked for part in target.train.texts[0])
    assert "{" not in asked
    assert len(set(prompter.words(target))) == len(target.labels)


def test_there_are_task_files():
    assert {"anli", "boolq", "cb", "rte", "wic"} <= {file.stem for file in FILES}
