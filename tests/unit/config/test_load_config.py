import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgg_ray.config import Config, config_schema, dump_config, label_name, load_config
from sgg_ray.errors import ConfigError

QUICKSTART = Path(__file__).parents[3] / "pipelines" / "configs" / "quickstart.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("guidance: {lambda_direction: -1}", "guidance.lambda_direction: must be >= 0, found -1"),
        (
            "guidance: {fd_relative_change: .nan}",
            "guidance.fd_relative_change: must be a finite number, found nan",
        ),
        ("guidance: {hvp: exactt}", "did you mean 'exact'?"),
        ("guidance: {max_hvp_ratio: 0}", "guidance.max_hvp_ratio: must be > 0, found 0"),
        (
            "guidance: {max_hvp_ratio: 1, fd_step: 0.1}",
            "max_hvp_ratio follows from how far H·v went before, but fd_step is fixed",
        ),
        ("guidance: {max_hvp_ratio: 1, hvp: first_order}", "but hvp: first_order has no H·v"),
        ("train: {max_steps: true}", "train.max_steps: must be a number, found True"),
        ("train: {max_steps: 1.5}", "train.max_steps: must be a whole number, found 1.5"),
        ("train: {learning_rate: fast}", "train.learning_rate: must be a number, found 'fast'"),
        ("train: {baseline: maybe}", "train.baseline: must be true or false, found 'maybe'"),
        ("name: 12", "name: must be text (put it in quotes), found 12"),
        ("name: a/b", "name: must be letters, digits, '.', '_' or '-'"),
        ("name: ..", "name: must be letters, digits, '.', '_' or '-'"),
        ("seed: -1", "seed: must be >= 0, found -1"),
        ("1: 2", "1: must be text; put the key in quotes"),
        (
            "alignment: {summary: {size: 1000}}",
            "alignment.summary.size: must be a multiple of 32, found 1000",
        ),
        (
            "alignment: {summary: {sise: 3}}",
            "alignment.summary.sise: unknown key; did you mean 'size'? (alignment.summary",
        ),
        ("sources: {imdb: {path: x}}", "sources: must be a list"),
        ("sources: [imdb]", "sources.0: must be a section with keys such as 'path', found 'imdb'"),
        ("sources: [{name: s, path: p, flip_labels: 2}]", "sources.s.flip_labels: must be <= 1, found 2"),
        (
            "sources: [{name: s, path: p, labels: [a]}]",
            "sources.s.labels: must be at least two different labels",
        ),
        (
            "sources: [{name: s, path: p, labels: [1, 1.0]}]",
            "sources.s.labels: must be at least two different labels",
        ),
        ("sources: [{name: s, path: p, labels: 5}]", "sources.s.labels: must be a list of names, or"),
        (
            "sources: [{name: s, path: p, labels: {0: a, 1: b}}]",
            "sources.s.labels: must be 'name: value in the file'",
        ),
        (
            "sources: [{name: s, path: p, labels: {a: 0, b: 0}}]",
            "sources.s.labels: must give each label a value of its own",
        ),
        (
            "sources: [{name: s, path: p, labels: {a: [0, 1], b: [1]}}]",
            "sources.s.labels: must give each label a value of its own",
        ),
        (
            "sources: [{name: s, path: p, labels: {a: [], b: 1}}]",
            "sources.s.labels: must give each label a value of its own",
        ),
        (
            "sources: [{name: s, path: p, where: {x: null}}]",
            "sources.s.where: must give each column a value or a list",
        ),
        (
            "sources: [{name: s, path: p, where: {x: []}}]",
            "sources.s.where: must give each column a value or a list",
        ),
        (
            "sources: [{name: s, path: p, columns: {text: a, label: a}}]",
            "sources.s.columns: must name two different",
        ),
        ("sources: [{name: target, path: p}]", "sources: 2 tasks are named 'target'; give each its own name"),
        (
            "model: {path: m, adapter: lora}\ntarget: {path: t, shots: 1}",
            "model.adapter: must be a section with keys",
        ),
        (
            "model: {path: 3}\ntarget: {path: t, shots: 1}",
            "model.path: must be text (put it in quotes), found 3",
        ),
        (
            "model: {path: m}\ntarget: {path: t, shots: 0}",
            "target.shots: must be a whole number of at least 1, or 'all', found 0",
        ),
        (
            "model: {path: m}\ntarget: {path: t}",
            "target.shots: is missing; add it (labelled examples per class",
        ),
        (
            "model: {path: m}\ntarget: {path: t, shots: 1, test: {}}",
            "target.test: must hold either 'fraction' or 'path'",
        ),
        (
            "model: {path: m}\ntarget: {path: t, shots: 1, test: {fraction: 0.1, path: x}}",
            "target.test: must hold either 'fraction' or 'path'",
        ),
        (
            "model: {path: m}\ntarget: {path: t, shots: 1, test: {fraction: 1}}",
            "target.test.fraction: must be < 1, found 1",
        ),
        (f"name: {'x y' * 200}", "..."),
    ],
)
def test_one_mistake_is_one_line_that_says_where_and_what_was_found(problems, text, expected):
    lines = problems(text)
    assert len(lines) == 1
    assert expected in lines[0]
    assert len(lines[0]) < 400


def test_all_mistakes_are_reported_at_once(problems):
    lines = problems(
        "giudance: {}\nguidance: {lambda_direction: -1, directon: 2, hvp: fd}\ntrain: {max_steps: 0}\n"
        "sources: [{name: target}, {name: s, path: p, flip_labels: 2}, {name: s, path: p}]\n"
    )
    places = {line.split(":")[0] for line in lines}
    assert places == {
        "giudance",
        "guidance.lambda_direction",
        "guidance.directon",
        "guidance.hvp",
        "train.max_steps",
        "sources.target.path",
        "sources.s.flip_labels",
        "sources",
    }
    assert len(lines) == 9  # two names stand twice


def test_an_unknown_key_comes_with_its_nearest_and_with_all_valid_keys(problems):
    (line,) = problems("guidance: {directon: 1}")
    assert line.startswith(
        "guidance.directon: unknown key; did you mean 'lambda_direction'? (guidance takes: "
    )
    assert "magnitude_form" in line


def test_a_key_of_old_is_told_its_new_name(problems):
    lines = problems("train: {steps: 5}\nray: {workers: 2}\nsources: [{name: s, path: p, limit: 3}]\n")
    assert [line.partition(" (")[0] for line in lines] == [
        "sources.s.limit: unknown key; it is now 'max_rows'",
        "train.steps: unknown key; it is now 'max_steps'",
        "ray.workers: unknown key; it is now 'num_workers'",
    ]


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
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


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab.0-", max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=2),
    max_leaves=4,
)


PLACES = """
    name seed model model.adapter target target.test target.test.where target.where target.labels
    target.columns target.max_rows sources sources.s sources.s.labels alignment.summary guidance.interval train
    ray.num_workers x
"""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(key=st.sampled_from(PLACES.split()), value=JUNK)
def test_junk_anywhere_is_accepted_or_refused_in_lines_and_never_crashes(tmp_path, key, value):
    from sgg_ray.config.document import write_yaml

    data = {
        "model": {"path": "a/b"},
        "target": {"path": "t", "shots": 1},
        "sources": [{"name": "s", "path": "p"}],
    }
    node = data
    *parents, last = key.split(".")
    for part in parents:
        node = node[0] if part == "s" else node.setdefault(part, {})
    if isinstance(node, list):
        node[0] = value
    else:
        node[last] = value
    (tmp_path / "c.yaml").write_text(write_yaml(data), encoding="utf-8")
    problems: tuple[str, ...] = ()
    try:
        load_config(tmp_path / "c.yaml")
    except ConfigError as error:
        problems = error.problems or ("",)
    assert all("\n" not in line and ": " in line for line in problems)


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


@pytest.mark.parametrize("shots", ["some", "1.5", "true", "-1", "'4'"])
def test_shots_are_a_number_or_all(load, problems, shots):
    (line,) = problems(f"model: {{path: m}}\ntarget: {{path: t, shots: {shots}}}")
    assert line.startswith("target.shots: must be a whole number of at least 1, or 'all', found ")
    assert load("model: {path: m}\ntarget: {path: t, shots: all}").target.shots == "all"


def test_strategies_are_compared_by_numbers_of_shots(problems):
    target = "model: {path: m}\ntarget: {path: t, shots: all}"
    (line,) = problems(f"{target}\ncompare: {{strategies: [full], baseline: full}}")
    assert line.startswith("compare.shots: target.shots is 'all'")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{path: t.csv, shots: 1, split: validation}", "only hf:// data sets have splits, found"),
        ("{path: t.csv, shots: 1, test: {split: test}}", "test.split: only hf:// data sets have splits"),
        ("{path: 'hf://a/b', shots: 1, test: {fraction: 0.1, split: test}}", "either 'fraction' or 'path'"),
        (
            "{path: 'hf://a/b', shots: 1, test: {path: t.csv, split: test}}",
            "only hf:// data sets have splits",
        ),
    ],
)
def test_splits_are_of_data_sets_on_a_hub(load, problems, target, said):
    (line,) = problems(f"model: {{path: m}}\ntarget: {target}")
    assert said in line
    own = load("model: {path: m}\ntarget: {path: 'hf://a/b', shots: 1, test: {split: validation}}")
    assert (own.target.test.path, own.target.test.split) == (None, "validation")


def test_the_home_folder_may_be_written_short(load, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load(
        "model: {path: ~/m}\ntarget: {path: ~/t.csv, shots: 1, test: {path: ~/e.csv}}\n"
        "ray: {storage_path: ~/runs}\ntracking: {uri: 'sqlite:///~/ml.db'}"
    )
    places = (config.model.path, config.target.path, config.target.test.path, config.ray.storage_path)
    assert places == tuple(str(tmp_path / name) for name in ("m", "t.csv", "e.csv", "runs"))
    assert config.tracking.uri == f"sqlite:///{tmp_path}/ml.db"
