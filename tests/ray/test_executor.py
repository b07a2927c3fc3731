"""The executor of the product keeps what an executor promises."""

import executor_contract
import pytest
from ray import cloudpickle

from sgg_ray.orchestration.runtime.ray_executor import RayExecutor

pytestmark = pytest.mark.ray
cloudpickle.register_pickle_by_value(executor_contract)  # workers do not find modules of tests


@pytest.mark.parametrize("promise", executor_contract.CONTRACT, ids=lambda promise: promise.__name__)
def test_on_ray(promise):
    promise(RayExecutor())


def test_nodes_have_what_ray_was_started_with():
    (node,) = RayExecutor().nodes()
    assert (node.cpus, node.gpus) == (4.0, 0.0)
