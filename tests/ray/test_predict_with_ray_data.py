"""Predictions by several Ray workers are those of one process, row by row."""

from importlib import import_module

import pandas as pd
import pytest
import toy

from sgg_ray.errors import CapacityError
from sgg_ray.orchestration.predict.predict_driver import predict

pytestmark = pytest.mark.ray


@pytest.fixture
def rows(tmp_path):
    return toy.write_rows(tmp_path / "in.jsonl", toy.sentences(40, seed=12))


def test_two_workers_predict_what_one_process_does(finished_run, rows, tmp_path, monkeypatch):
    module = import_module("sgg_ray.orchestration.predict.predict_driver")
    monkeypatch.setattr(module, "ROWS", 8)
    monkeypatch.setattr(import_module("sgg_ray.orchestration.predict.ray_data"), "BLOCK", 256)
    alone = predict(finished_run, rows, tmp_path / "alone.csv")
    spread = predict(finished_run, rows, tmp_path / "spread.csv", workers=2)
    left, right = (pd.read_csv(result.path) for result in (alone, spread))
    pd.testing.assert_frame_equal(left, right, atol=1e-6)
    assert spread.to_dict()["metrics"]["confusion"] == alone.to_dict()["metrics"]["confusion"]


def test_more_workers_than_fit_are_refused(finished_run, rows, tmp_path):
    with pytest.raises(CapacityError, match="--workers: 64 workers of 1 CPUs need 64, the cluster has 4"):
        predict(finished_run, rows, tmp_path / "out.csv", workers=64)
    assert not (tmp_path / "out.csv").exists()
