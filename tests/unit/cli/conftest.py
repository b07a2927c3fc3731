from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sgg_ray.cli import app

Sgg = Callable[..., Result]


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current directory: what a command writes by default lands in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sgg(here) -> Sgg:
    """Run a command in this process."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def no_ray(monkeypatch):
    """Any attempt to reach or start Ray is an error."""

    def refuse(*_, **__):
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr("ray.is_initialized", lambda: False)


@pytest.fixture
def refused(sgg, here, no_ray) -> Callable[..., str]:
    """Run a command that has to end with exit code 2 and one line, before Ray starts and with nothing written."""

    def run(*arguments) -> str:
        before = files_below(here)
        result = sgg(*arguments)
        assert result.exit_code == 2, result.output
        lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert result.stderr.splitlines() == lines, result.stderr
        assert "Traceback" not in result.output
        assert files_below(here) == before
        (line,) = lines
        return line.removeprefix("error: ")

    return run
