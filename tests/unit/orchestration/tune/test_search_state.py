"""Ray Tune writes its state over the last one: a full disk tears it, and the sweep goes on from a whole copy."""

import json
import pickle

import pytest

from sgg_ray.artifacts import StorageFolder
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.tune.tune_driver import _keep_state, _mend_state


@pytest.fixture
def state(tmp_path):
    (tmp_path / "experiment_state-1.json").write_text(json.dumps({"trials": [1]}))
    (tmp_path / "searcher-state-1.pkl").write_bytes(pickle.dumps({"seen": [1]}))
    return StorageFolder(str(tmp_path))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    "torn", ["experiment_state-1.json", "searcher-state-1.pkl", "experiment_state-2.json"]
)
def test_a_torn_file_is_replaced_by_the_copy(state, tmp_path, torn):
    before = files(tmp_path)
    _keep_state(state)
    (tmp_path / torn).write_bytes(before.get(torn, b"")[:-3])
    _keep_state(state)  # a torn one is not copied
    _mend_state(state, NullListener())
    assert files(tmp_path) == before


def test_without_a_copy_the_search_begins_anew(state, tmp_path):
    (tmp_path / "experiment_state-1.json").write_text("")
    _mend_state(state, NullListener())
    assert not tmp_path.exists()


def test_a_whole_state_is_left_alone(state, tmp_path):
    _keep_state(state)
    (tmp_path / "experiment_state-1.json").write_text(json.dumps({"trials": [1, 2]}))
    before = files(tmp_path)
    _mend_state(state, NullListener())
    assert files(tmp_path) == before
