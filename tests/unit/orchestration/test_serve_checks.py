"""What keeps `sgg serve` from starting is said before Ray is started."""

import socket
import sys

import pytest
from typer.testing import CliRunner

from sgg_ray.cli import app
from sgg_ray.errors import ConfigError
from sgg_ray.orchestration.serve import serve_driver


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch):
    monkeypatch.setattr(serve_driver, "connected", lambda config: pytest.fail("Ray was started"))


def test_a_port_that_is_taken(finished_run):
    pytest.importorskip(
        "uvicorn", reason="Ray Serve is not installed: python -m pip install 'sgg-ray[serve]'"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["serve", str(finished_run), "--port", port])
    assert result.exit_code == 2
    line = f"error: --host, --port: cannot listen on 127.0.0.1:{port} (Address already in use); give others"
    assert line in result.output


def test_a_missing_package(finished_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with (
        pytest.raises(ConfigError, match=r"sgg serve needs .* python -m pip install 'sgg-ray\[serve\]'"),
        serve_driver.served(finished_run),
    ):
        pass


def test_a_run_that_is_not_there(tmp_path):
    result = CliRunner().invoke(app, ["serve", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "error: RUN: there is no run folder" in result.output
