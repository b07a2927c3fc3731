"""The benchmark of data-parallel training works, and finds one training whatever the number of processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "data_parallel.py"


@pytest.mark.slow
@pytest.mark.by_hand
def test_it_runs_on_cpus(tmp_path):
    found = tmp_path / "found.json"
    size = ["--world", "2", "--tiny", "--cases", "llama-full", "--repeats", "1", "--steps", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--device", "cpu", *size, "--json", str(found)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(found.read_text(encoding="utf-8"))
    case = report["cases"]["llama-full"]
    assert case["stretches"] > 1
    assert case["checks"]["same_bits"]
    assert case["checks"]["beside_against_at_the_end"] < 1e-6
    assert {(row["step"], row["sum"]) for row in case["steps"]} >= {
        ("guided", way) for way in ("alone", "beside", "at the end")
    }
    assert all(0 < row["low"] <= row["efficiency"] <= row["high"] for row in case["steps"])
    assert report["equality"]["share"] < 1e-3 < report["equality"]["change"]
