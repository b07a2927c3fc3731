"""What Ray Train is asked for: as many workers as there is room for, on nodes with the labels."""

import pytest

from sgg_ray.artifacts import StorageFolder
from sgg_ray.errors import CapacityError, ConfigError
from sgg_ray.models import check_settings
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime.capacity import check_capacity
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.train import torch_trainer
from sgg_ray.orchestration.train.torch_trainer import make_trainer
from sgg_ray.orchestration.train.train_worker import TrainingJob
from sgg_ray.orchestration.tune.sweep_plan import prepare_tuning


@pytest.mark.parametrize(("keys", "expected"), [({}, 4), ({"min_workers": 2}, (2, 4))])
def test_the_number_of_workers_is_one_or_a_range(make_config, tmp_path, monkeypatch, keys, expected):
    asked = {}
    monkeypatch.setattr(torch_trainer, "TorchTrainer", lambda loop, **given: asked.update(given))
    config = make_config(ray={"num_workers": 4, "worker_labels": {"zone": "in(a, b)"}, **keys})
    job = TrainingJob(config, None, {}, None)  # pyright: ignore[reportArgumentType]
    make_trainer(job, StorageFolder(str(tmp_path)))
    scaling = asked["scaling_config"]
    assert (scaling.num_workers, scaling.label_selector) == (expected, {"zone": "in(a, b)"})


def test_the_fewest_workers_have_to_fit(make_config):
    nodes = InProcessExecutor([Resources(2)])
    check_capacity(make_config(ray={"num_workers": 8, "min_workers": 2}), nodes)
    with pytest.raises(CapacityError, match=r"ray\.min_workers: 3 workers of 1 CPUs .* the cluster has 2"):
        check_capacity(make_config(ray={"num_workers": 8, "min_workers": 3}), nodes)


def test_nodes_without_the_labels_do_not_count(make_config):
    class Labelled(InProcessExecutor):
        def nodes(self, labels=None):
            return [Resources(1)] if labels else [Resources(1), Resources(8)]

    check_capacity(make_config(ray={"num_workers": 4}), Labelled())
    with pytest.raises(CapacityError, match=r"the nodes with ray\.worker_labels \{'zone': 'a'\} have 1"):
        check_capacity(make_config(ray={"num_workers": 4, "worker_labels": {"zone": "a"}}), Labelled())


def test_many_trainings_have_a_fixed_number_of_workers(make_config):
    keys = {"min_workers": 1, "worker_labels": {"zone": "a"}}
    config = make_config(ray={"num_workers": 2, **keys})
    with pytest.raises(ConfigError) as caught:
        prepare_tuning(config, NullListener())
    assert [one.split(":")[0] for one in caught.value.problems] == [f"ray.{key}" for key in keys]


def test_fewer_than_the_fewest_is_refused(make_config, lm):
    with pytest.raises(ValueError, match="is more than num_workers, 2"):
        make_config(ray={"num_workers": 2, "min_workers": 3})
    sharded = {"num_workers": 2, "min_workers": 1, "sharding": "fsdp"}
    config = make_config(model={"path": str(lm)}, ray=sharded, train={"baseline": False})
    with pytest.raises(Exception, match=r"ray\.min_workers: fsdp needs two workers"):
        check_settings(config)
