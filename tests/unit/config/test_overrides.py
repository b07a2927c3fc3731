import pytest

SOURCES = "sources: [{name: imdb, path: a.csv}, {name: '1', path: b.csv}, {name: tweets, path: c.csv}]\n"


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("train.max_steps=7", lambda c: c.train.max_steps, 7),
        ("guidance.lambda_direction=1e-3", lambda c: c.guidance.lambda_direction, 1e-3),
        ("sources.tweets.max_rows=10", lambda c: c.sources[2].max_rows, 10),
        ("sources.0.max_rows=10", lambda c: c.sources[0].max_rows, 10),
        ("sources.1.max_rows=10", lambda c: c.sources[1].max_rows, 10),
        ("sources.imdb.labels=[a, b]", lambda c: c.sources[0].labels, ["a", "b"]),
        (
            "model.adapter={peft_type: lora, r: 4}",
            lambda c: c.model.adapter.model_dump(),
            {"peft_type": "lora", "r": 4},
        ),
        ("target.where={text: 'a=b'}", lambda c: c.target.where, {"text": "a=b"}),
        ("sources=[]", lambda c: c.sources, []),
        ("target.max_rows=null", lambda c: c.target.max_rows, None),
    ],
)
def test_a_value_is_set_where_its_key_says(load, override, read, value):
    assert read(load(SOURCES, override)) == value


def test_later_overrides_win_and_the_name_argument_wins_over_all(load):
    config = load(SOURCES, "seed=1", "seed=2", "name=a", name="x.yaml")
    assert (config.seed, config.name) == (2, "a")


def test_a_name_is_preferred_to_a_position(load):
    config = load(SOURCES, "sources.1.max_rows=3")
    assert [source.max_rows for source in config.sources] == [None, 3, None]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.max_steps", "must be key=value"),
        ("=3", "must be key=value"),
        ("train..steps=3", "must be key=value"),
        ("train.max_steps=[", "not valid YAML"),
        ("seed.x=1", "'seed' is a value, it has no keys"),
        ("sources.imdbb.max_rows=3", "'sources' has no entry 'imdbb'; it has: imdb, 1, tweets"),
        ("sources.9={}", "'sources' has no entry '9'"),
        ("train.stesp=5", "train.stesp: unknown key; did you mean 'max_steps'?"),
        ("train.max_steps=0", "train.max_steps: must be >= 1, found 0"),
        ("guidance=3", "guidance: must be a section with keys such as 'lambda_direction', found 3"),
    ],
)
def test_a_wrong_override_is_one_line(problems, override, expected):
    (line,) = problems(SOURCES + "seed: 0\n", override)
    assert expected in line


def test_an_override_of_a_source_that_no_file_has_is_named(problems):
    (line,) = problems("", "sources.imdb.max_rows=1")
    assert "'sources' has no entry 'imdb'; it has: none" in line


def test_wrong_overrides_and_a_wrong_file_are_reported_together(problems):
    lines = problems("guidance: {lambda_direction: -1}\n", "a", "sources.x.max_rows=1", "train.max_steps=no")
    assert len(lines) == 4
