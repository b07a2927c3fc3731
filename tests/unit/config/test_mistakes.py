"""One mistake in a file is one line that says where it is, what was found and what to do."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgg_ray.config import load_config, messages
from sgg_ray.errors import ConfigError


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
            "target.shots: is missing; add it (labelled training examples per class",
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
    assert "gradient_floor" in line


def test_a_key_of_old_is_told_its_new_name(problems):
    lines = problems("train: {steps: 5}\nray: {workers: 2}\nsources: [{name: s, path: p, limit: 3}]\n")
    assert [line.partition(" (")[0] for line in lines] == [
        "sources.s.limit: unknown key; it is now 'max_rows'",
        "train.steps: unknown key; it is now 'max_steps'",
        "ray.workers: unknown key; it is now 'num_workers'",
    ]


def test_what_is_gone_is_told_so(problems):
    """Every key and value that the tables name, each at a place where it once could stand."""
    for key, said in messages.REMOVED.items():
        section, _, name = key.partition(".")
        assert problems(f"{section}: {{{name}: 0.5}}") == [f"{key}: {said}"]
    for (key, value), said in messages.REMOVED_VALUES.items():
        section, _, name = key.partition(".")
        assert problems(f"{section}: {{{name}: {value}}}") == [f"{key}: {value}: {said}"]


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("train: {calibration_folds: 1}", "train.calibration_folds: without test rows"),
        ("compare: {strategies: [full]}", "target.test: strategies are compared on test rows"),
    ],
)
def test_who_needs_test_rows_says_so(load, problems, more, said):
    base = "model: {path: m}\ntarget: {path: t.csv, shots: 4, test: none}"
    assert load(base).target.test.is_none
    (line,) = problems(f"{base}\n{more}")
    assert line.startswith(said)


@pytest.mark.parametrize("kind", ["generation", "regression"])
def test_who_is_never_held_out_needs_test_rows(problems, kind):
    (line,) = problems(f"model: {{path: m}}\ntarget: {{path: t.csv, kind: {kind}, shots: 8, test: none}}")
    assert line.startswith(f"target.test: a target of kind {kind} needs test rows")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("strategy: full", "only strategy auto of sgg train learns from unlabelled texts, found full"),
        ("guidance: {hvp: exact}", "found the file's own settings; leave it out"),
        ("compare: {strategies: [full]}\nstrategy: auto", "found a comparison; leave it out"),
        ("train: {budget: 1}", "one of the trainings of train.budget learns from them, found a budget of 1"),
        ("ray: {sharding: fsdp, num_workers: 2}", "cannot be used with ray.sharding, found fsdp"),
    ],
)
def test_who_cannot_learn_from_unlabelled_texts_says_so(load, problems, more, said):
    base = "model: {path: m}\ntarget: {path: t.csv, shots: 4, unlabelled: {path: u.csv}}"
    assert load(base).target.unlabelled.path.endswith("u.csv")
    (line,) = problems(f"{base}\n{more}")
    assert line.startswith("target.unlabelled: ")
    assert said in line


def test_unlabelled_texts_have_as_many_columns_as_the_targets(problems):
    target = "{path: t.csv, shots: 4, unlabelled: {path: u.csv, split: x, columns: {text: [a, b]}}}"
    split, columns = problems(f"model: {{path: m}}\ntarget: {target}")
    assert split.startswith("target.unlabelled.split: only hf:// data sets have splits")
    assert columns == "target.unlabelled.columns.text: must name 1 as target.columns.text does, found a, b"
