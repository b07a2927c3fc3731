"""Names that no file can have, wherever one may be given: one line, exit code 2, before anything starts."""

import pytest

LONG = "x" * 5000
NAMES = {"too long": LONG, "with a null character": "a\0b"}
KEYS = {
    "model.path": {"model": {"path": "{}"}},
    "target.path": {"target": {"path": "{}.csv"}},
    "target.path of a package": {"target": {"path": "package://sgg_ray/{}"}},
    "ray.storage_path": {"ray": {"storage_path": "{}"}},
    "tracking.uri": {"tracking": {"uri": "sqlite:///{}.db"}},
}
# Those that look at a name before typer, which refuses null characters itself.
OPTIONS = {
    "strategy": ("train", "CONFIG", "--dry-run", "--strategy", LONG),
    "CONFIG": ("train", f"{LONG}.yaml"),
    "RUN": ("predict", LONG, "--data", "CONFIG", "--out", "o.csv"),
    "--out": ("predict", "FINISHED", "--data", "CONFIG", "--out", f"{LONG}.csv"),
    "--data": ("predict", "FINISHED", "--data", f"{LONG}.csv", "--out", "o.csv"),
    "--to": ("export", "FINISHED", "--to", LONG),
    "--lm-eval": ("export", "FINISHED", "--to", "e", "--lm-eval", LONG),
    "DIR": ("init", LONG),
}


def require_one_line(result):
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert "OSError" not in result.stderr


def filled(value, name):
    return {
        key: filled(one, name) if isinstance(one, dict) else one.format(name) for key, one in value.items()
    }


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_of_the_file(sgg, no_ray, here, write_config, key, name):
    require_one_line(sgg("train", write_config(**filled(key, name)), "--dry-run"))


@pytest.mark.parametrize("given", OPTIONS.values(), ids=OPTIONS)
def test_an_option(sgg, no_ray, here, finished_run, write_config, given):
    places = {"CONFIG": write_config(), "FINISHED": finished_run}
    require_one_line(sgg(*(places.get(word, word) for word in given)))
