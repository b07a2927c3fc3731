"""The files of pipelines/configs/tasks read rows of the columns that they name, and ask what they promise."""

import shlex
from pathlib import Path

import pytest
import toy

from sgg_ray.config import as_list, listed_labels, load_config
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


def opening(file):
    """The comment that a file begins with, without its marks."""
    lines = file.read_text().split("model:")[0].splitlines()
    return " ".join(line.lstrip("# ").rstrip("\\ ") for line in lines)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_task_file_says_what_columns_it_needs(file):
    entry, said = load_config(file).target, opening(file)
    labels = entry.labels if isinstance(entry.labels, dict) else entry.labels or ()
    values = [*labels, *labels.values()] if isinstance(labels, dict) else [*labels]
    for name in (*as_list(entry.columns.text), *as_list(entry.columns.choices or []), *values):
        assert str(name).lower() in said.split("Columns:")[1].lower()
    (line,) = [
        line for line in (file.parent / "README.md").read_text().splitlines() if f"({file.name})" in line
    ]
    assert f"`{entry.columns.label}`: " in line
    assert all(f"`{name}`" in line for name in as_list(entry.columns.text))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_task_file_is_sound(file, lm, tmp_path):
    """With a file of one's own as its comment says: the data sets of the hub are not to be had here."""
    entry = load_config(file).target
    path = toy.write_rows(tmp_path / "rows.jsonl", rows_for(entry))
    command = opening(file).split("sgg train")[2].replace("$PWD", str(path.parent))
    changes = [word for word in shlex.split(command) if "=" in word]
    target, _ = load_tasks(load_config(file, [*changes, "target.shots=4"]))
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


def test_labels_in_a_line_stay_apart_and_on_it():
    assert listed_labels(["plain", "with, comma", "two\nlines", "x" * 300]) == (
        'plain, "with, comma", two lines, ' + "x" * 59 + "…"
    )
