"""One local Ray for all tests of this folder that a process runs. It offers four CPUs whatever the machine has."""

import logging
import time

import pytest
import ray
from filelock import FileLock

from sgg_ray.orchestration.runtime.cluster import kept_to_this_machine

CPUS = 4


@pytest.fixture(scope="session", autouse=True)
def cluster(tmp_path_factory):
    with kept_to_this_machine():
        # One after the other: a raylet gives up when its agents have not started within seconds, and where processes
        # of pytest-xdist start theirs at once, ten programs share the cores.
        with FileLock(tmp_path_factory.getbasetemp().parent / "start-ray.lock"):
            ray.init(
                address="local",
                num_cpus=CPUS,
                include_dashboard=False,
                namespace="sgg",
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        yield
        ray.shutdown()


@pytest.fixture(autouse=True)
def _nothing_is_left(cluster):
    """After every test its actors are gone and their CPUs are free again."""
    yield
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < CPUS:
        assert time.monotonic() < deadline, f"still in use: {ray.cluster_resources()}"
        time.sleep(0.1)
