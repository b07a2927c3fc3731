"""The command line without its script."""

import runpy
import sys

import pytest


def test_the_package_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sgg", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("sgg_ray", run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("sgg_ray ")
