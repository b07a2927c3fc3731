"""A Ray that a command starts is for that command alone."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SCRIPT = """
import json, os
before = dict(os.environ)
import ray
from sgg_ray.config import RayConfig
from sgg_ray.orchestration.doctor.access import _listening, check_access
from sgg_ray.orchestration.runtime.cluster import connected

found = []
for _ in range(2):  # the second Ray of a process is no more open than the first
    with connected(RayConfig()):
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        found.append([check_access("local").to_dict(), sorted(set(_listening())), os.environ["RAY_AUTH_TOKEN"]])
left = {name: value for name, value in os.environ.items() if "AUTH_TOKEN" in name and before.get(name) != value}
print(json.dumps([found, left]))
"""


def test_it_listens_on_loopback_and_asks_for_a_token_that_is_on_no_disk(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found, left = json.loads(done.stdout.splitlines()[-1])
    for check, listening, _ in found:
        assert check["holds"], check
        assert len(listening) >= 4  # GCS, raylet, agents, worker
        assert {ip for _, ip in listening} == {"127.0.0.1"}
    assert found[0][2] != found[1][2]
    assert not left
    assert not (tmp_path / ".ray" / "auth_token").exists()
