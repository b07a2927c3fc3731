"""What a run asks of a cluster that starts nodes as they are needed. The nodes are listed as Ray lists them."""

import pytest
from ray.autoscaler import sdk

from sgg_ray.config import RayConfig
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime import cluster


class Listening(NullListener):
    def __init__(self):
        self.stages = []

    def stage(self, text):
        self.stages.append(text)


@pytest.fixture
def autoscaler(monkeypatch):
    """Nodes, and what was asked for; a request brings one node with two GPUs."""
    nodes = [{"Alive": True, "Resources": {"CPU": 8.0}}]
    asked = []

    def request(bundles):
        asked.append(bundles)
        if bundles:
            nodes.append({"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}})

    monkeypatch.setattr(cluster.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(sdk, "request_resources", request)
    monkeypatch.setattr(cluster, "NODE_POLL_SECONDS", 0.01)
    return asked


def config(**keys) -> RayConfig:
    return RayConfig.model_validate(keys)


def test_rooms_are_counted_node_by_node(autoscaler):
    sdk.request_resources(bundles=[{}])
    assert cluster.rooms(3, 0) == [2, 2]
    assert cluster.rooms(1, 0.5) == [0, 4]


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({}, 2),  # three tasks, two cores
        ({"task_workers": 3}, 3),  # somebody wants them
        ({"task_workers": 3, "cpus_per_task_worker": 1}, 2),
        ({"gpus_per_task_worker": 0.25}, 3),  # they share the card
        ({"gpus_per_task_worker": 1}, 1),
    ],
)
def test_task_workers_are_as_many_as_can_work_at_a_time(make_config, monkeypatch, keys, count):
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": 1.0})
    assert cluster.task_worker_count(make_config(ray=keys)) == count


def test_nodes_are_asked_for_once_and_waited_for(autoscaler):
    listener = Listening()
    cluster.grow(config(num_workers=2, gpus_per_worker=1, scale_up_seconds=60), listener)
    assert autoscaler == [[{"CPU": 1, "GPU": 1}] * 2, []]
    assert listener.stages == ["waiting up to 60 s for nodes"]
    assert sum(cluster.rooms(1, 1)) == 2


def test_nobody_waits_for_what_is_there(autoscaler):
    cluster.grow(config(num_workers=8, scale_up_seconds=60), NullListener())
    cluster.grow(config(num_workers=9), NullListener())  # an error, but of whoever checks
    assert autoscaler == []


def test_the_wait_has_an_end(autoscaler):
    cluster.grow(config(num_workers=5, gpus_per_worker=1, scale_up_seconds=1), NullListener())
    assert autoscaler[-1] == []
