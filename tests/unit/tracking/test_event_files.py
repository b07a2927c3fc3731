"""TensorBoard's event files hold the curves that events.jsonl holds, each step once."""

import math

import pytest
from event_reader import read

from sgg_ray.errors import ConfigError
from sgg_ray.tracking import EventFiles, check_event_files

pytest.importorskip("tensorboardX", reason="needs python -m pip install 'sgg-ray[tensorboard]'")


def test_every_step_is_there_once_however_often_it_is_told(tmp_path):
    files = EventFiles(tmp_path)
    files.log_curve("guided", [(0, {"loss": 1.5, "skipped": 0}), (1, {"loss": math.nan, "skipped": 1})])
    files.log_curve("guided", [(0, {"loss": 1.5}), (1, {"loss": 1.0}), (2, {"loss": 0.5})])
    files.log_curve("target-only", [(0, {"loss": 2.0})])
    files.close()
    assert read(tmp_path / "tensorboard" / "guided") == {
        "loss": {0: [1.5], 1: [1.0], 2: [0.5]},
        "skipped": {0: [0.0], 1: [1.0]},
    }
    assert read(tmp_path / "tensorboard" / "target-only") == {"loss": {0: [2.0]}}

    again = EventFiles(tmp_path)  # another process goes on with the run, and tells it from the beginning
    again.log_curve("guided", [(0, {"loss": 1.5}), (1, {"loss": 0.75})])
    again.close()
    assert read(tmp_path / "tensorboard" / "guided") == {"loss": {0: [1.5], 1: [0.75]}}
    assert read(tmp_path / "tensorboard" / "target-only") == {"loss": {0: [2.0]}}


def test_without_points_there_is_no_file(tmp_path):
    files = EventFiles(tmp_path)
    files.log_curve("guided", [(0, {"loss": math.inf})])
    files.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_said_with_its_extra(monkeypatch):
    monkeypatch.setattr("sgg_ray.tracking.event_files.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tracking\.tensorboard: needs .* 'sgg-ray\[tensorboard\]'"):
        check_event_files()
