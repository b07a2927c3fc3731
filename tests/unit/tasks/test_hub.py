import json

import datasets
import pytest

from sgg_ray.config import Config, SourceConfig
from sgg_ray.errors import DataError
from sgg_ray.tasks import load_tasks
from sgg_ray.tasks.hub import read_hub
from sgg_ray.tasks.read import read_table


@pytest.fixture
def hub(monkeypatch):
    """A hub that holds one data set; records what it was asked for."""
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "stars": datasets.ClassLabel(names=["one", "two"]),
            "vector": datasets.List(datasets.Value("float32")),
        }
    )
    rows = {"text": ["a", "b", "c"], "label": [0, 1, -1], "stars": [1, 0, 1], "vector": [[1.0], [2.0], [3.0]]}
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return datasets.Dataset.from_dict(rows, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def read(path, **options):
    return read_table(SourceConfig.model_validate({"name": "s", "path": path, **options}), "sources.s")


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("hf://imdb", ("imdb",)),
        ("hf://owner/name", ("owner/name",)),
        ("hf://owner/name/config", ("owner/name", "config")),
    ],
)
def test_a_path_names_repository_and_configuration(hub, path, arguments):
    read(path, split="validation")
    assert hub == [(arguments, {"split": "validation"})]


@pytest.mark.parametrize("path", ["hf://owner/name@v1.2", "hf://owner/name/config@v1.2", "hf://name@v1.2"])
def test_a_revision_is_passed_on(hub, path):
    read(path, split="test")
    ((names, options),) = hub
    assert options == {"split": "test", "revision": "v1.2"}
    assert not any("@" in name for name in names)


def test_class_numbers_get_their_names_and_hidden_labels_are_dropped(hub):
    table = read("hf://owner/name")
    assert [table.values[number] for number in table.labels] == ["bad", "good"]
    assert table.notes == ("1 row without a label dropped",)


def test_filters_use_class_names_too(hub):
    assert read("hf://owner/name", where={"stars": "two"}).texts == ["a"]


def test_a_missing_column_lists_those_of_the_data_set(hub):
    with pytest.raises(DataError, match="it has: text, label, stars, vector"):
        read("hf://owner/name", columns={"text": "sentence"})


@pytest.mark.parametrize(
    "error",
    [ConnectionError("no route\nmore"), FileNotFoundError("absent"), ValueError("unknown split"), OSError()],
)
def test_whatever_the_library_raises_is_one_line(monkeypatch, error):
    def load_dataset(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        read("hf://owner/name")
    (line,) = caught.value.problems
    assert line.startswith("sources.s.path: hf://owner/name (split 'train') cannot be loaded (")
    assert line.endswith("check name, split and connection, or use a file")


def test_a_path_without_a_name_and_a_stream_are_refused(monkeypatch):
    with pytest.raises(DataError, match="names no data set"):
        read("hf://")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict())
    with pytest.raises(DataError, match="no table of rows but a DatasetDict"):
        read("hf://owner/name")


def test_splits_of_a_folder_are_read_by_name(tmp_path, monkeypatch):
    """The library itself, on a folder in place of a hub: splits by the names of their files, a revision as given."""

    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    for split, count in (("train", 30), ("validation", 10)):
        rows = [{"text": f"{split} {n}", "label": n % 2} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = read_hub("hf://owner/name@main", "validation", ["text", "label"], "target.path")
    assert found.frame["text"].tolist() == [f"validation {n}" for n in range(10)]
    target = {"path": "hf://owner/name", "shots": 4, "test": {"split": "validation"}}
    config = Config.model_validate({"name": "t", "model": {"path": "a/b"}, "target": target})
    task, _ = load_tasks(config)
    assert (len(task.train), len(task.test)) == (8, 10)
    assert all(str(text).startswith("train") for text in task.train.texts)
    with pytest.raises(DataError, match="split 'test'"):
        read_hub("hf://owner/name", "test", ["text"], "target.path")
