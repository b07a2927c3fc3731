"""The files of pipelines/configs/tasks read rows of the columns that they name, and ask what they promise."""

from pathlib import Path

import pytest
import toy

from sgg_ray.config import as_list, load_config
from sgg_ray.models import load_tokenizer
from sgg_ray.models.prompts import Prompter
from sgg_ray.tasks import load_tasks, parts_of

FILES = sorted((Path(__file__).parents[3] / "pipelines" / "configs" / "tasks").glob("*.yaml"))


def rows_for(entry):
    """Rows that we make ourselves, of the columns and values that the file names."""
    labels = entry.labels
    values = list(labels.values()) if isinstance(labels, dict) else list(labels or (0, 1))
    columns, own = (
        as_list(entry.columns.text),
        as_list(entry.columns.choices) if entry.columns.choices else [],
    )
    rows = []
    for n in range(60):
        row = {**{name: f"{name} word{n}" for name in columns}, entry.columns.label: values[n % len(values)]}
        if len(own) == 1:
            row[own[0]] = [f"good{n % 12} word{n}", f"bad{n % 12}", f"bad{n % 12} word{n}", "very"]
        rows.append({**row, **{name: f"good{n % 12} {name}" for name in own if len(own) > 1}})
    return rows


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_task_file_is_sound(file, lm, tmp_path):
    entry = load_config(file).target
    path = toy.write_rows(tmp_path / "rows.jsonl", rows_for(entry))
    changes = [f"target.path={path}", "target.split=train", "target.test={fraction: 0.2}", "target.shots=4"]
    target, _ = load_tasks(load_config(file, changes))
    prompter = Prompter(load_tokenizer(str(lm)), False, 128)
    asked = prompter.write(target, target.train.texts[0])
    assert all(part in asked for part in parts_of(target.train.texts[0]))
    assert "{" not in asked
    if entry.kind == "multiple_choice":
        assert len(target.train) == 4
        assert len(prompter.fitting_choices(target, target.train)[1][0]) == len(target.labels)
        return
    assert len(target.train) == 4 * len(target.labels)
    columns = as_list(entry.columns.text)
    assert set(target.fields) == (set(columns) if len(columns) > 1 else {"text"})
    assert len(set(prompter.words(target))) == len(target.labels)


def test_there_are_task_files():
    assert {"anli", "boolq", "cb", "copa", "hellaswag", "rte", "wic"} <= {file.stem for file in FILES}
