"""Bad input is one line that names the place, what was found and what to do; exit 2, nothing started or written."""

import json

import pytest
import toy
import yaml

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import load_config
from sgg_ray.orchestration.score.score_driver import fingerprint
from sgg_ray.orchestration.train.train_state import TRAIN_STATE, _latest
from sgg_ray.tasks import load_tasks
from sgg_ray.training.checkpoint import STATE

VERBS = ["score", "train"]


@pytest.fixture(params=VERBS)
def verb(request) -> str:
    return request.param


def jsonl(folder, rows, name="rows.jsonl") -> str:
    return str(toy.write_rows(folder / name, rows))


def test_a_configuration_that_is_not_there(refused, verb):
    assert "nowhere.yaml: no such file" in refused(verb, "nowhere.yaml")


def test_a_file_that_is_no_yaml(refused, verb, here):
    (here / "bad.yaml").write_text("a: [1, 2\nb: 3")
    assert "bad.yaml:2:" in refused(verb, "bad.yaml")


# What is changed in a sound configuration, and what the line has to say: place, found, advice.
WRONG = {
    "direction below 0": (
        {"guidance": {"lambda_direction": -1}},
        "guidance.lambda_direction: must be >= 0, found -1",
    ),
    "magnitude below 0": (
        {"guidance": {"lambda_magnitude": -0.5}},
        "guidance.lambda_magnitude: must be >= 0, found -0.5",
    ),
    "alignment below 0": (
        {"guidance": {"lambda_alignment": -2}},
        "guidance.lambda_alignment: must be >= 0, found -2",
    ),
    "source weight below 0": (
        {"guidance": {"lambda_source": -1}},
        "guidance.lambda_source: must be >= 0, found -1",
    ),
    "radius 0": (
        {"guidance": {"fd_relative_change": 0}},
        "guidance.fd_relative_change: must be > 0, found 0",
    ),
    "distance 0": ({"guidance": {"fd_step": 0}}, "guidance.fd_step: must be > 0, found 0"),
    "adapter that trains nothing": (
        {"model": {"adapter": {"peft_type": "lora", "inference_mode": True}}},
        "leaves nothing to train",
    ),
    "no shots": (
        {"target": {"shots": 0}},
        "target.shots: must be a whole number of at least 1, or 'all', found 0",
    ),
    "unknown key": (
        {"guidance": {"directon": 1}},
        "guidance.directon: unknown key; did you mean 'lambda_direction'?",
    ),
    "no workers": ({"ray": {"num_workers": 0}}, "ray.num_workers: must be >= 1, found 0"),
    "no model": ({"model": None}, "model: is missing; add it"),
    "too many tokens": ({"train": {"max_length": 65}}, "train.max_length: "),
    "unknown adapter": ({"model": {"adapter": {"peft_type": "lorra"}}}, "did you mean 'lora'?"),
    "hub over the network": (
        {"model": {"path": "no/such-model"}},
        "model.path: no/such-model cannot be read",
    ),
    "missing target": ({"target": {"path": "nowhere.jsonl"}}, "target.path: "),
    "missing test file": (
        {"target": {"test": {"fraction": None, "path": "nowhere.csv"}}},
        "target.test.path: ",
    ),
    "missing column": (
        {"target": {"columns": {"text": "text", "label": "lable"}}},
        "target.columns.label: column 'lable' is not in",
    ),
    "unknown label": ({"target": {"labels": ["bad", "good"]}}, "target.labels: column 'label' of"),
    "a class without rows": (
        {"target": {"labels": ["negative", "positive", "mixed"]}},
        "target.shots: no row of class mixed is left beside the test rows",
    ),
    "name no folder can have": ({"name": "a/b"}, "name: must be letters, digits"),
}


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting(refused, verb, write_config, changes, said):
    assert said in refused(verb, write_config(**changes))


def test_a_missing_source(refused, verb, write_config):
    line = refused(verb, write_config(sources=[{"name": "films", "path": "nowhere.csv"}]))
    assert line.startswith("sources.films.path: ")
    assert "does not exist" in line


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_an_empty_source(refused, verb, write_config, here, content):
    (here / "empty.csv").write_text(content)
    assert refused(verb, write_config(sources=[{"name": "films", "path": "empty.csv"}])).startswith(
        "sources.films.path: "
    )


def test_texts_that_are_all_empty(refused, verb, write_config, here):
    path = jsonl(here, [{"text": " ", "label": label} for label in ("negative", "positive") * 4])
    line = refused(verb, write_config(sources=[{"name": "films", "path": path}]))
    assert "sources.films" in line
    assert "empty" in line


def test_two_tasks_of_one_name(refused, verb, write_config, data):
    twice = [{"name": "clean", "path": str(data / "clean.jsonl")}] * 2
    assert "2 tasks are named 'clean'" in refused(verb, write_config(sources=twice))


def test_a_model_that_is_not_there(refused, verb, write_config, here):
    line = refused(verb, write_config(model={"path": str(here / "nothing")}))
    assert line.startswith("model.path: ")
    assert "does not exist" in line


def test_a_model_of_a_kind_that_is_not_supported(refused, verb, write_config, here):
    (here / "both").mkdir()
    (here / "both" / "config.json").write_text(json.dumps({"model_type": "pegasus"}))
    line = refused(verb, write_config(model={"path": "both"}))
    assert "is an encoder-decoder model of type 'pegasus', of which only t5, mt5, umt5 are supported" in line


def test_all_problems_are_told_at_once(sgg, no_ray, write_config):
    result = sgg(
        "train", write_config(guidance={"lambda_direction": -1}, train={"max_steps": 0}), "--set", "nonsense"
    )
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())


def test_problems_of_several_tasks_are_told_at_once(sgg, no_ray, write_config):
    missing = [{"name": name, "path": f"{name}.csv"} for name in ("one", "two")]
    result = sgg("score", write_config(sources=missing, target={"path": "zero.csv"}))
    assert result.exit_code == 2
    assert [line.split(".path")[0] for line in result.stderr.splitlines()] == [
        "error: target",
        "error: sources.one",
        "error: sources.two",
    ]


def test_a_wrong_override(refused, verb, write_config):
    assert refused(verb, write_config(), "--set", "train.stepps=3").startswith("train.stepps: unknown key")


def test_a_name_that_is_finished(refused, write_config, here):
    path = write_config()
    config = load_config(path)
    folder = RunFolder(config.ray.storage_path, config.name)
    folder.begin(config)
    folder.finish()
    line = refused("train", path)
    assert line.startswith("name: run 'toy' in ")
    assert "--name" in line


def test_a_name_that_was_begun_with_other_settings(refused, write_config):
    path = write_config()
    config = load_config(path)
    RunFolder(config.ray.storage_path, config.name).begin(config)
    line = refused("train", path, "--set", "train.max_steps=77")
    assert "train.max_steps was 8 and is now 77" in line


@pytest.fixture
def stopped(write_config):
    """A training that was stopped after its first checkpoint: its YAML, its folder and that checkpoint."""
    path = write_config()
    config = load_config(path)
    folder = RunFolder(config.ray.storage_path, config.name)
    folder.begin(config)
    folder.finish("failed")
    checkpoint = folder.path / TRAIN_STATE / "checkpoint_1"
    checkpoint.mkdir(parents=True)
    latest = {"latest_checkpoint_result": {"checkpoint_dir_name": checkpoint.name}}
    (checkpoint.parent / "checkpoint_manager_snapshot.json").write_text(json.dumps(latest))
    return path, folder, checkpoint


@pytest.mark.parametrize("content", ["", "[]", "null", "3", "{", '{"latest_checkpoint_result": [1]}'])
def test_a_snapshot_of_ray_that_is_none_counts_as_torn(stopped, content):
    """A training then goes on from the last whole checkpoint; without one it begins anew."""
    _, folder, _ = stopped
    (folder.path / TRAIN_STATE / "checkpoint_manager_snapshot.json").write_text(content)
    assert _latest(folder.state(TRAIN_STATE)) is None


@pytest.mark.parametrize("damage", ["missing", "noise"])
def test_an_unreadable_checkpoint(refused, stopped, damage):
    path, _, checkpoint = stopped
    if damage == "noise":
        (checkpoint / STATE).write_bytes(b"noise" * 100)
    line = refused("train", path)
    assert line.startswith("name: ")
    assert "cannot be read" in line
    assert "--name" in line


def test_rows_that_changed_since_the_run_was_begun(refused, stopped):
    path, folder, _ = stopped
    folder.update(content="of other rows")
    assert "was begun with other rows" in refused("train", path)


def test_a_storage_that_is_no_folder(refused, verb, write_config, here):
    (here / "taken").write_text("")
    assert refused(verb, write_config(ray={"storage_path": "taken"})).startswith(
        "ray.storage_path: cannot write to "
    )


def test_scoring_without_sources(refused, write_config):
    assert refused("score", write_config(sources=[])).startswith("sources: there is nothing to score")


def test_debug_shows_where(sgg, no_ray, write_config):
    result = sgg("train", write_config(model={"path": "./nowhere"}), "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: model.path: ")


def test_what_nobody_thought_of_is_one_line_too(sgg, write_config, monkeypatch):
    def fails(*_):
        raise RuntimeError("no idea")

    monkeypatch.setattr("sgg_ray.orchestration.train.train_driver.train", fails)
    result = sgg("train", write_config())
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: RuntimeError: no idea (--debug shows where; please report it)"
    ]


def test_an_interruption_says_how_to_go_on(sgg, write_config, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sgg_ray.orchestration.train.train_driver.train", interrupted)
    result = sgg("train", write_config())
    assert result.exit_code == 130
    assert "the same command goes on from the last checkpoint" in result.stderr


@pytest.mark.parametrize("arguments", [("train",), ("trian", "x.yaml"), ("score", "x.yaml", "--steps", "3")])
def test_a_wrong_call_is_exit_2(sgg, arguments):
    assert sgg(*arguments).exit_code == 2


def test_the_file_in_the_examples_is_sound(write_config):
    """All of the above start from a configuration without a fault: this one."""
    assert yaml.safe_load(write_config().read_text())["name"] == load_config(write_config()).name


@pytest.mark.parametrize("content", ['{"status"', "[1, 2]", "null", '{"settings": 3}'])
def test_a_run_folder_that_is_damaged(refused, verb, write_config, here, content):
    for name in ("toy", "toy-score"):
        (here / "runs" / name).mkdir(parents=True)
        (here / "runs" / name / "run.json").write_text(content)
    assert "run.json cannot be read" in refused(verb, write_config())


@pytest.mark.parametrize("content", ['{"target": "tar', "[]", "{}", None])
def test_scores_that_are_damaged(refused, stopped, content):
    """Of a training that was stopped, and of a finished scoring whose report would be shown again."""
    path, folder, _ = stopped
    scores = folder.path / "scores.json"
    scores.write_text("" if content is None else content)
    assert "scores.json cannot be read" in refused("train", path)
    scores.unlink()
    if content is not None:
        scores.write_text(content)
    target, sources = load_tasks(load_config(path))
    folder.update(command="score", content=fingerprint([target, *sources]))
    folder.finish()
    assert "scores.json cannot be read" in refused("score", path, "--name", folder.name)


def test_a_database_that_is_none(refused, verb, write_config, here):
    (here / "mlflow.db").write_text("no database at all, and longer than a header of one hundred bytes" * 9)
    assert "mlflow.db cannot be used as a database: file is not a database" in refused(verb, write_config())
