"""A few hundred damaged and hostile files from fixed seeds; `long.py` takes as many as there is time for."""

import random
import time
import warnings

import pytest
from surfaces import surfaces

NAMES = ("yaml text", "yaml values", "t.csv", "t.jsonl", "t.parquet", "model settings", "run folder")
SEEDS = 200  # of a surface, as far as its seconds reach
BOX = 6.0  # seconds of a surface


@pytest.fixture(scope="module")
def attempts(tmp_path_factory, settings, finished_run):
    from sgg_ray.config import Config

    config = Config.model_validate({**settings, "name": "fuzz"})
    return surfaces(tmp_path_factory.mktemp("fuzz"), config, finished_run)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_or_refused_in_one_line(attempts, name):
    assert set(attempts) == set(NAMES)
    ends = time.monotonic() + BOX
    for seed in range(SEEDS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                attempts[name](random.Random(f"{name} {seed}"))
            except Exception as error:
                raise AssertionError(f"{name}, seed {seed}: {type(error).__name__}: {error}") from error
        if time.monotonic() > ends and seed >= 10:
            break
