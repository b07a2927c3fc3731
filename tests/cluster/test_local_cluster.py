"""The launcher file for machines that one has is brought up for real, over SSH, in namespaces of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy
import yaml

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("bring_up.py")
NAMESPACES = ["unshare", "--pid", "--mount", "--net", "--fork", "--mount-proc", "--kill-child"]


def why_not() -> str:
    """What this machine lacks for a cluster of its own; empty if nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    search = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    missing = [
        name
        for name in ("unshare", "sshd", "ssh", "ssh-keygen", "rsync", "mount")
        if shutil.which(name, path=search) is None
    ]
    if missing:
        return f"needs {', '.join(missing)}"
    refused = subprocess.run(
        [*NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, text=True
    )
    return f"namespaces are not allowed here: {refused.stderr.strip()}" if refused.returncode else ""


def test_a_cluster_comes_up_trains_and_goes_down(settings, tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    home = tmp_path / "home"
    home.mkdir()
    content = yaml.safe_load((ROOT / "pipelines/configs/cluster-local.yaml").read_text())
    content["provider"] |= {"head_ip": "127.0.0.1", "worker_ips": []}
    content["auth"] = {"ssh_user": "root", "ssh_private_key": "PRIVATE_KEY"}
    # The requirements are installed already; the package itself is taken from where file_mounts puts it.
    content["setup_commands"] = [line for line in content["setup_commands"] if "pip install" not in line]
    assert len(content["setup_commands"]) == 3
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(yaml.safe_dump(content))
    changes = {
        "sources": [],
        "train": {"baseline": False},
        "ray": {"address": "auto", "storage_path": str(tmp_path / "runs")},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(toy.merged(settings, changes)))

    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_A")}
    done = subprocess.run(
        [*NAMESPACES, sys.executable, str(SCRIPT), str(home), str(cluster), str(config)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["token"] == 0
    assert found["up"][0] == 0, found["up"][1][-3000:]
    assert "authentication is disabled" not in found["up"][1]
    assert found["running"]
    assert found["submit"][0] == 0, found["submit"][1][-3000:]
    assert "accuracy" in found["submit"][1]
    assert (tmp_path / "runs" / "toy" / "metrics.json").exists()
    assert found["bad"][0] != 0
    assert "toy.yaml.missing" in found["bad"][1]
    assert found["down"][0] == 0, found["down"][1][-3000:]
    assert found["left"] == []
