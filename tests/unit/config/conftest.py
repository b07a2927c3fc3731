import pytest

from sgg_ray.config import load_config
from sgg_ray.errors import ConfigError

MINIMAL = "model: {path: some/encoder}\ntarget: {path: rows.csv, shots: 4}\n"


@pytest.fixture
def load(tmp_path):
    """Load a configuration from its text; MINIMAL stands in front unless the text brings its own target."""

    def run(text="", *overrides, name="run.yaml", **options):
        file = tmp_path / name
        content = text if isinstance(text, bytes) or "target:" in text else MINIMAL + text
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_config(file, overrides, **options)

    return run


@pytest.fixture
def problems(load):
    """The lines of the error that loading ends with."""

    def run(*arguments, **options):
        with pytest.raises(ConfigError) as caught:
            load(*arguments, **options)
        assert caught.value.exit_code == 2
        assert all(line.strip() and "\n" not in line for line in caught.value.problems)
        return list(caught.value.problems)

    return run
