import pytest

SOURCES = "sources: [{name: imdb, path: a.csv}, {name: '1', path: b.csv}, {name: tweets, path: c.csv}]\n"


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("train.steps=7", lambda c: c.train.steps, 7),
        ("guidance.direction=1e-3", lambda c: c.guidance.direction, 1e-3),
        ("sources.tweets.limit=10", lambda c: c.sources[2].limit, 10),
        ("sources.0.limit=10", lambda c: c.sources[0].limit, 10),
        ("sources.1.limit=10", lambda c: c.sources[1].limit, 10),
        ("sources.imdb.labels=[a, b]", lambda c: c.sources[0].labels, ["a", "b"]),
        (
            "model.adapter={method: lora, r: 4}",
            lambda c: c.model.adapter.model_dump(),
            {"method": "lora", "r": 4},
        ),
        ("target.where={text: 'a=b'}", lambda c: c.target.where, {"text": "a=b"}),
        ("sources=[]", lambda c: c.sources, []),
        ("target.limit=null", lambda c: c.target.limit, None),
    ],
)
def test_a_value_is_set_where_its_key_says(load, override, read, value):
    assert read(load(SOURCES, override)) == value


def test_later_overrides_win_and_the_name_argument_wins_over_all(load):
    config = load(SOURCES, "seed=1", "seed=2", "name=a", name="x.yaml")
    assert (config.seed, config.name) == (2, "a")


def test_a_name_is_preferred_to_a_position(load):
    config = load(SOURCES, "sources.1.limit=3")
    assert [source.limit for source in config.sources] == [None, 3, None]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps", "must be key=value"),
        ("=3", "must be key=value"),
        ("train..steps=3", "must be key=value"),
        ("train.steps=[", "not valid YAML"),
        ("seed.x=1", "'seed' is a value, it has no keys"),
        ("sources.imdbb.limit=3", "'sources' has no entry 'imdbb'; it has: imdb, 1, tweets"),
        ("sources.9={}", "'sources' has no entry '9'"),
        ("train.stesp=5", "train.stesp: unknown key; did you mean 'steps'?"),
        ("train.steps=0", "train.steps: must be >= 1, found 0"),
        ("guidance=3", "guidance: must be a section with keys such as 'direction', found 3"),
    ],
)
def test_a_wrong_override_is_one_line(problems, override, expected):
    (line,) = problems(SOURCES + "seed: 0\n", override)
    assert expected in line


def test_an_override_of_a_source_that_no_file_has_is_named(problems):
    (line,) = problems("", "sources.imdb.limit=1")
    assert "'sources' has no entry 'imdb'; it has: none" in line


def test_wrong_overrides_and_a_wrong_file_are_reported_together(problems):
    lines = problems("guidance: {direction: -1}\n", "a", "sources.x.limit=1", "train.steps=no")
    assert len(lines) == 4
