"""Every check says what it found; what does not hold comes with a way out and exit code 1."""

import json
from importlib import import_module

import pytest
import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from typer.testing import CliRunner

from sgg_ray.cli import app
from sgg_ray.config import RayConfig, TrackingConfig
from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.doctor.access import check_access
from sgg_ray.orchestration.doctor.checks import (
    check_disk,
    check_gpus,
    check_shared_memory,
    check_storage,
    check_temporary,
    check_tracking,
    check_upload,
    check_versions,
    examine,
)
from sgg_ray.orchestration.runtime.cluster import connected

pytestmark = pytest.mark.ray
DOCTOR = import_module("sgg_ray.orchestration.doctor.checks")
ACCESS = import_module("sgg_ray.orchestration.doctor.access")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def want_nothing(monkeypatch):
    """Nothing is wanted of the machine: the rest holds wherever tests run."""
    for limit in ("LEAST_CORES", "LEAST_MEMORY", "LEAST_SHARED_MEMORY", "LEAST_DISK"):
        monkeypatch.setattr(DOCTOR, limit, 0)
    monkeypatch.setattr(DOCTOR, "DEMO", ("json",))


def test_all_checks_of_a_sound_machine(here, monkeypatch):
    want_nothing(monkeypatch)
    checks = {
        check.name: check
        for check in examine(
            RayConfig.model_validate({"storage_path": "runs"}),
            TrackingConfig.model_validate({"uri": "sqlite:///mlflow.db"}),
        )
        if check.name != "GPUs"  # the tests' Ray was told of none
    }
    assert all(check.holds for check in checks.values()), checks
    assert len(checks) == 12
    assert list(here.iterdir()) == []  # nothing is left


def test_versions_that_are_not_those_of_the_package(monkeypatch):
    assert check_versions().holds
    monkeypatch.setattr(DOCTOR, "_version", {"ray": "2.9.0"}.get)
    check = check_versions()
    assert not check.holds
    assert "ray 2.9.0" in check.found
    assert "torch missing" in check.found
    assert "'ray==2.60.*'" in check.fix


def test_a_machine_that_is_too_small(monkeypatch, here):
    monkeypatch.setattr(DOCTOR, "LEAST_DISK", 1 << 60)
    monkeypatch.setattr(DOCTOR, "LEAST_SHARED_MEMORY", 1 << 60)
    monkeypatch.setattr(DOCTOR, "LEAST_TEMPORARY", 1 << 60)
    assert not check_disk(here / "not" / "there").holds
    assert not (temporary := check_temporary(here)).holds
    assert "TMPDIR" in temporary.fix
    assert not check_shared_memory(here).holds
    assert "--shm-size" in check_shared_memory(here).fix
    assert check_shared_memory(here / "nowhere").holds


def test_a_working_directory_that_is_too_large(monkeypatch, here):
    (here / "data").write_bytes(bytes(3000))
    (here / ".venv").mkdir()
    (here / ".venv" / "lib").write_bytes(bytes(30000))
    monkeypatch.setattr(DOCTOR, "LARGEST_UPLOAD", 4000)
    assert check_upload(here).holds
    (here / "more").write_bytes(bytes(3000))
    assert not check_upload(here).holds


def test_a_store_of_mlflow_that_cannot_be_used(here):
    (here / "notes.db").write_text("not a database " * 500)
    check = check_tracking(f"sqlite:///{here}/notes.db")
    assert not check.holds
    assert "file is not a database" in check.found
    assert "mlflow db upgrade" in check.fix
    assert not check_tracking("http://127.0.0.1:9").holds


@pytest.mark.parametrize(
    ("asks", "local", "cluster", "holds"),
    [
        (True, "asks for a token of its own", "refuses whoever has no token", True),
        (False, "asks for no token", "takes commands from everyone", False),
        (None, "could not be asked", "could not be asked", False),
    ],
)
def test_access_is_what_a_stranger_gets(monkeypatch, asks, local, cluster, holds):
    monkeypatch.setattr(ACCESS, "refuses_strangers", lambda address: asks)
    monkeypatch.setattr(ACCESS, "_listening", lambda: [("raylet", "127.0.0.1")])
    for address, found in (("local", local), ("auto", cluster)):
        check = check_access(address)
        assert found in check.found
        assert check.holds is holds


def test_a_stranger_really_asks():
    """Ray 2.60 asks for a token unless told otherwise, which the Ray of these tests is not."""
    assert ACCESS.refuses_strangers(ray.get_runtime_context().gcs_address) is is_token_auth_enabled()


def test_what_listens_on_the_network_is_told(monkeypatch):
    monkeypatch.setattr(ACCESS, "refuses_strangers", lambda address: True)
    monkeypatch.setattr(ACCESS, "_listening", lambda: [("gcs_server", "0.0.0.0"), ("raylet", "127.0.0.1")])
    check = check_access("local")
    assert not check.holds
    assert "listens on the network (gcs_server)" in check.found


def test_gpus_that_only_one_of_both_sees(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert check_gpus(1.0, 1).holds
    assert "--num-gpus" in check_gpus(0.0, 1).fix
    assert not check_gpus(0.0, 1).holds
    assert not check_gpus(2.0, 1).holds
    assert check_gpus(4.0, 4).holds  # three other nodes with one each


def test_a_storage_that_a_node_cannot_write(here, cluster):
    import ray

    nodes = [node["NodeID"] for node in ray.nodes()]
    assert check_storage(here / "runs", nodes).holds
    (here / "file").write_text("")
    assert not check_storage(here / "file", nodes).holds
    assert not check_storage(here / "runs", ["0" * 56]).holds


def test_the_command_prints_a_line_a_check_and_fails_with_them(here, monkeypatch):
    monkeypatch.setattr(DOCTOR, "DEMO", ("no_such_package",))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "✗ demo              missing: no_such_package\n  → python -m pip install" in result.stdout
    assert "✓ storage" in result.stdout
    assert "to fix: " in result.stdout.splitlines()[-1]


def test_without_a_cluster_there_is_no_smoke(monkeypatch, here):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def nowhere(_):
        raise ClusterError("ray.address: nobody answers")

    monkeypatch.setattr(DOCTOR, "connected", nowhere)
    ray, tracking = RayConfig.model_validate({"address": "auto"}), TrackingConfig.model_validate({})
    *_, cluster, smoke = examine(ray, tracking, lambda: pytest.fail("was run"))
    assert (cluster.holds, smoke.holds) == (False, False)
    assert "nobody answers" in cluster.found


def test_a_ray_that_does_not_start_is_one_line(monkeypatch, here):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)

    def too_slow(**_):
        raise Exception("The current node timed out during startup.\nmore")

    monkeypatch.setattr("ray.init", too_slow)
    with pytest.raises(ClusterError) as caught, connected(RayConfig.model_validate({})):
        pass
    assert list(caught.value.problems) == [
        "ray.address: Ray did not start on this machine (The current node timed out during startup.); free cores and "
        "memory, and try again"
    ]


@pytest.mark.slow
def test_smoke_goes_through_every_room(here, monkeypatch):
    want_nothing(monkeypatch)
    monkeypatch.setattr(DOCTOR, "check_gpus", lambda *_: DOCTOR.Check("GPUs", True, "", ""))
    result = CliRunner().invoke(app, ["doctor", "--smoke", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert "scored 2 sources, trained, predicted 64 rows, exported" in found["checks"][-1]["found"]
    assert list(here.iterdir()) == []
