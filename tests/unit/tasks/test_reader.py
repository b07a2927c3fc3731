"""Files are read once for many splits, and rows to choose settings by are apart from shots and test rows."""

import numpy as np
import pytest

from sgg_ray.errors import DataError
from sgg_ray.tasks import Reader, load_tasks


def test_a_reader_gives_the_same_tasks_and_reads_each_file_once(make_config, monkeypatch):
    from sgg_ray.tasks import task_loading as load

    read, paths = load.read_table, []
    monkeypatch.setattr(
        load, "read_table", lambda entry, key: (paths.append(entry.path), read(entry, key))[1]
    )
    reader = Reader()
    for seed in (0, 1):
        config = make_config(seed=seed)
        for one, other in zip(_flat(load_tasks(config)), _flat(load_tasks(config, reader)), strict=True):
            assert (one.name, one.labels, one.notes) == (other.name, other.labels, other.notes)
            for part in ("train", "test"):
                assert getattr(one, part).texts == getattr(other, part).texts
                np.testing.assert_array_equal(getattr(one, part).labels, getattr(other, part).labels)
    shared = 2  # the target's file and the one of both sources
    assert len(paths) == 2 * shared + shared


def test_validation_rows_are_neither_shots_nor_test_rows_nor_in_a_source(make_config):
    config = make_config(sources=[{"name": "copy", "path": make_config().target.path}])
    target, _ = load_tasks(config)
    other, (copy,) = load_tasks(config, eval_split="validation")
    assert other.train.texts == target.train.texts
    assert len(other.test) > 0
    assert not set(other.test.texts) & {*target.test.texts, *target.train.texts}
    assert not set(copy.train.texts) & {*target.test.texts, *other.test.texts}


def test_validation_needs_rows_that_are_left(make_config):
    rows = len(load_tasks(make_config(), eval_split="validation")[0].test)
    with pytest.raises(DataError, match="every row is a shot or a test row"):
        load_tasks(make_config(target={"shots": 8 + rows // 2}), eval_split="validation")


def _flat(tasks):
    target, sources = tasks
    return [target, *sources]
