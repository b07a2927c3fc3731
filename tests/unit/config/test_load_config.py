import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgg_ray.config import Config, config_schema, dump_config, label_name, load_config

QUICKSTART = Path(__file__).parents[3] / "pipelines" / "configs" / "quickstart.yaml"


def test_defaults_need_only_a_model_and_a_target(load):
    config = load()
    assert (config.name, config.seed, config.sources) == ("run", 0, [])
    assert config.target.test.fraction == 0.2
    assert (config.target.columns.text, config.target.columns.label) == ("text", "label")


def test_an_emptied_section_means_its_defaults_and_null_elsewhere_does_not(load, problems):
    assert load("guidance:\nsources:\ntrain:\n") == load()
    assert problems("guidance: {lambda_direction: null}") == [
        "guidance.lambda_direction: must be a number, found nothing"
    ]


@pytest.mark.parametrize(
    ("stem", "name"), [("my run", "my-run"), ("..x", "x"), ("épée", "p-e"), ("é", "run")]
)
def test_the_default_name_is_the_files_name_made_fit_for_a_folder(load, stem, name):
    assert load(name=f"{stem}.yaml").name == name


def test_input_paths_start_at_the_file_and_outputs_stay(load, tmp_path, monkeypatch):
    (tmp_path / "encoder").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = load(
        "model: {path: encoder}\ntarget: {path: ../a.csv, shots: 1, test: {path: b.csv}}\n"
        "sources: [{name: h, path: ~/c.csv}, {name: p, path: package://m/x.csv}, {name: r, path: hf://a/b}]\n"
    )
    assert config.model.path == str(tmp_path / "encoder")
    assert config.target.path == str(tmp_path.parent / "a.csv")
    assert config.target.test.path == str(tmp_path / "b.csv")
    paths = [source.path for source in config.sources]
    assert paths == [str(tmp_path / "home" / "c.csv"), "package://m/x.csv", "hf://a/b"]
    assert (config.ray.storage_path, config.tracking.uri) == ("runs", "sqlite:///mlflow.db")


def test_a_model_that_is_no_folder_here_stays_a_hub_id(load, tmp_path):
    assert load("model: {path: org/encoder}\ntarget: {path: t, shots: 1}").model.path == "org/encoder"
    assert load("model: {path: ./org}\ntarget: {path: t, shots: 1}").model.path == str(tmp_path / "org")


def test_strange_paths_are_left_for_the_reader_to_refuse(load):
    config = load('model: {path: "a\\0b"}\ntarget: {path: "~nobody-here/x", shots: 1}')
    assert config.model.path == "a\0b"


def test_a_configuration_does_not_change_after_loading(load):
    config = load()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValueError, match="frozen"):
        config.train.max_steps = 3


def test_the_resolved_file_replays_from_anywhere(load, tmp_path, monkeypatch):
    config = load(
        "model: {path: ., adapter: {peft_type: lora, r: 8, target_modules: [query]}}\n"
        "target: {path: t.csv, shots: 2, labels: {'yes': '1e5', 'no': 0},"
        " where: {d: 2020-01-01, e: [1, 2.5, 'true']}}\n"
        "sources: [{name: s, path: p.csv, labels: ['007', null-ish], max_rows: 3}]\n"
    )
    elsewhere = tmp_path / "deep" / "er"
    elsewhere.mkdir(parents=True)
    (elsewhere / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    assert load_config("config.yaml") == config


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    labels=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=4),
    where=st.dictionaries(
        st.text(st.characters(codec="utf-8")), st.integers() | st.booleans() | st.text("ab1e~ ")
    ),
    rate=st.floats(min_value=1e-12, max_value=10),
)
def test_any_valid_values_survive_writing_and_reading(tmp_path, labels, where, rate):
    data = {
        "name": "x",
        "model": {"path": "a/b"},
        "target": {"path": "/t.csv", "shots": 1, "where": where, "labels": labels},
        "train": {"learning_rate": rate},
    }
    if len({label_name(label) for label in labels} - {""}) < len(labels):
        return
    config = Config.model_validate(data)
    (tmp_path / "c.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "c.yaml") == config


def test_every_key_is_explained_in_the_json_schema():
    schema = config_schema()
    for section, content in schema["$defs"].items():
        assert content["description"], section
    unexplained = [
        f"{section}.{key}"
        for section, content in schema["$defs"].items()
        for key, value in content["properties"].items()
        if "description" not in value and "$ref" not in str(value) and key != "name"
    ]
    assert unexplained == []


def test_flat_lists_every_value_under_its_dotted_key(load):
    flat = load("sources: [{name: imdb, path: p, where: {a: [1]}}]").flat()
    assert flat["guidance.hvp"] == "finite_difference"
    assert flat["sources.imdb.where.a"] == [1]
    assert not any(isinstance(value, dict) and value for value in flat.values())


def test_the_quick_start_is_valid():
    config = load_config(QUICKSTART)
    assert config.name == "quickstart"
    assert any(source.flip_labels == 1 for source in config.sources)
    assert not os.path.isabs(config.ray.storage_path)


def test_the_home_folder_may_be_written_short(load, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load(
        "model: {path: ~/m}\ntarget: {path: ~/t.csv, shots: 1, test: {path: ~/e.csv}}\n"
        "ray: {storage_path: ~/runs}\ntracking: {uri: 'sqlite:///~/ml.db'}"
    )
    places = (config.model.path, config.target.path, config.target.test.path, config.ray.storage_path)
    assert places == tuple(str(tmp_path / name) for name in ("m", "t.csv", "e.csv", "runs"))
    assert config.tracking.uri == f"sqlite:///{tmp_path}/ml.db"
