"""The death of Ray interrupts the driver, and is told even where Ray ends the driver at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

from sgg_ray.errors import ClusterError
from sgg_ray.orchestration.runtime import ray_guard, ray_watch
from sgg_ray.orchestration.runtime.ray_guard import TOGETHER
from sgg_ray.orchestration.runtime.ray_watch import GCS, RAYLET, RayWatch, ray_has_died, watched


@pytest.fixture
def parts(monkeypatch):
    """What is alive of a Ray that does not exist."""
    alive = {GCS: True, RAYLET: True}
    found = {name: (lambda name=name: alive[name]) for name in alive}
    monkeypatch.setattr(ray_watch, "_own_parts", lambda node: (found, {}))
    monkeypatch.setattr(ray_watch, "POLL_SECONDS", 0.01)
    return alive


@pytest.fixture(params=["heeds SIGINT", "ignores SIGINT"])
def of_sigint(request):
    """How the driver takes SIGINT: as a command does, or one in the background of a script."""
    ignores = request.param == "ignores SIGINT"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignores else signal.default_int_handler)
    yield signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def sleep_lightly(seconds):
    """Wait as Ray's calls do, which look at signals: an interrupt takes effect at the end of a sleep."""
    for _ in range(100 * seconds):
        time.sleep(0.01)


@pytest.mark.parametrize("name", [GCS, RAYLET])
def test_a_driver_that_waits_is_interrupted(parts, of_sigint, name):
    def wait():
        with watched(own=True):
            parts[name] = False
            sleep_lightly(10)

    with pytest.raises(ClusterError) as caught:
        wait()
    (line,) = caught.value.problems
    assert line.startswith(
        f"Ray's {name} process has died (killed, or out of memory); what was finished is kept"
    )
    assert signal.getsignal(signal.SIGINT) is of_sigint


def test_a_driver_that_ignores_sigint_goes_on_ignoring_that_of_others(parts):
    interrupted = False
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with watched(own=True):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGINT, before)
    assert not interrupted


def test_what_fails_because_ray_has_died_says_so(parts):
    def fail():
        with watched(own=True):
            parts[RAYLET] = False
            raise RuntimeError("lost a worker")

    with pytest.raises(ClusterError, match="raylet process has died"):
        fail()


def test_a_driver_that_is_interrupted_can_tell_why(parts):
    assert not ray_has_died()
    with watched(own=True):
        assert not ray_has_died()
        parts[GCS] = False
        with pytest.raises(KeyboardInterrupt):
            sleep_lightly(10)
        assert ray_has_died()
    assert not ray_has_died()


def test_other_errors_and_ctrl_c_stay_what_they_are(parts):
    for error in (RuntimeError("of the work"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, watched(own=True):
            raise error
        assert caught.value is error


def test_a_gcs_that_comes_back_in_time_is_none_that_has_died():
    alive = {GCS: False}
    watch = RayWatch({GCS: lambda: alive[GCS]}, {GCS: 0.2}, lambda: None)
    assert not watch.look()
    alive[GCS] = True
    time.sleep(0.25)
    assert not watch.look()
    alive[GCS] = False
    assert not watch.look()
    time.sleep(0.25)
    assert watch.look()


# Loaded as a file: importing the package would take longer than the test.
DRIVER = f"""
import os, runpy, subprocess, sys, time
guarded = runpy.run_path({ray_guard.__file__!r})["guarded"]
raylet = subprocess.Popen(["sleep", "60"])
lines = {{"raylet": "the raylet has died", "{TOGETHER}": "both have"}}
with guarded({{"raylet": raylet.pid}}, lines):
    print(raylet.pid, flush=True)
    sys.stdin.readline()
    if sys.argv[1] == "aborts":
        raylet.kill()
        time.sleep(0.5)
        os._exit(1)
raylet.kill()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the guard needs Linux")
@pytest.mark.parametrize(
    ("ending", "said"), [("aborts", "error: the raylet has died\n"), ("ends", ""), ("killed", "")]
)
def test_the_guard_says_why_a_driver_was_ended(ending, said):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    raylet = int(driver.stdout.readline())
    if ending == "killed":
        driver.kill()
        driver.wait()
        time.sleep(0.2)
        os.kill(raylet, signal.SIGKILL)  # it holds stderr open; Ray's processes end with their driver
    _, found = driver.communicate("\n" if ending != "killed" else None)
    assert found == said
