"""What a training cannot do is found before it starts."""

import pytest

from sgg_ray.errors import DataError
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.train.train_driver import prepare_training


def test_without_test_rows_a_class_needs_two_shots(make_config):
    def prepared(shots):
        target = {"shots": shots, "test": "none"}
        return prepare_training(
            make_config(target=target, sources=[], train={"calibration_folds": None}), NullListener()
        )

    with pytest.raises(DataError, match=r"target\.test: .* no class has two shots; raise target\.shots"):
        prepared(1)
    target, _ = prepared(2)
    assert len(target.test) == 0 < len(target.train)
