"""What a run asks of a cluster that starts nodes as they are needed; nodes are those of an executor in this process."""

from typing import Any

import pytest
from ray.autoscaler import sdk

from sgg_ray.config import RayConfig
from sgg_ray.errors import CapacityError
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime import capacity
from sgg_ray.orchestration.runtime.executor import Resources
from sgg_ray.orchestration.runtime.in_process import InProcessExecutor


class Listening(NullListener):
    def __init__(self):
        self.stages = []

    def stage(self, text):
        self.stages.append(text)


class Autoscaler:
    """An executor's nodes, and what was asked for; a request brings one node with two GPUs."""

    def __init__(self):
        self.nodes = [Resources(8)]
        self.asked = []

    def request(self, bundles):
        self.asked.append(bundles)
        if bundles:
            self.nodes.append(Resources(8, 2))

    @property
    def executor(self):
        executor: Any = InProcessExecutor()
        executor.nodes = lambda: self.nodes
        return executor


@pytest.fixture
def autoscaler(monkeypatch):
    scaler = Autoscaler()
    monkeypatch.setattr(sdk, "request_resources", scaler.request)
    monkeypatch.setattr(capacity, "NODE_POLL_SECONDS", 0.01)
    return scaler


def config(**keys) -> RayConfig:
    return RayConfig.model_validate(keys)


def test_rooms_are_counted_node_by_node():
    executor = InProcessExecutor([Resources(8), Resources(8, 2)])
    assert capacity.rooms(3, 0, executor) == [2, 2]
    assert capacity.rooms(1, 0.5, executor) == [0, 4]


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
def test_task_workers_are_as_many_as_can_work_at_a_time(make_config, keys, count):
    assert capacity.task_worker_count(make_config(ray=keys), InProcessExecutor([Resources(2, 1)])) == count


def test_nodes_are_asked_for_once_and_waited_for(autoscaler):
    listener = Listening()
    asked = config(num_workers=2, gpus_per_worker=1, scale_up_seconds=60)
    capacity.grow(asked, listener, executor=autoscaler.executor)
    assert autoscaler.asked == [[{"CPU": 1, "GPU": 1}] * 2, []]
    assert listener.stages == ["waiting up to 60 s for nodes"]
    assert sum(capacity.rooms(1, 1, autoscaler.executor)) == 2


def test_nobody_waits_for_what_is_there(autoscaler):
    capacity.grow(config(num_workers=8, scale_up_seconds=60), NullListener(), executor=autoscaler.executor)
    capacity.grow(
        config(num_workers=9), NullListener(), executor=autoscaler.executor
    )  # whoever checks, refuses
    assert autoscaler.asked == []


def test_the_wait_has_an_end(autoscaler):
    asked = config(num_workers=5, gpus_per_worker=1, scale_up_seconds=1)
    capacity.grow(asked, NullListener(), executor=autoscaler.executor)
    assert autoscaler.asked[-1] == []


def test_every_key_that_asks_for_too_much_is_named(make_config):
    asked = make_config(ray={"num_workers": 5, "gpus_per_worker": 1, "gpus_per_task_worker": 1})
    with pytest.raises(CapacityError) as caught:
        capacity.check_capacity(asked, InProcessExecutor([Resources(4)]))
    keys = ["ray.num_workers", "ray.gpus_per_worker", "ray.gpus_per_task_worker"]
    assert [problem.split(":")[0] for problem in caught.value.problems] == keys
    assert "need 5 CPUs, the cluster has 4" in caught.value.problems[0]


def test_several_nodes_need_a_place_that_all_of_them_share(make_config):
    nodes = InProcessExecutor([Resources(4), Resources(4)])
    capacity.check_capacity(make_config(), nodes)  # absolute
    capacity.check_capacity(make_config(ray={"storage_path": "runs"}), InProcessExecutor([Resources(8)]))
    with pytest.raises(
        CapacityError, match=r"^ray\.storage_path: 'runs' is relative, and each of the 2 nodes"
    ):
        capacity.check_capacity(make_config(ray={"storage_path": "runs"}), nodes)
