"""Eight processes log to a real MLflow server that goes away in between: nothing is lost, nobody stops."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ports import free_port

SCRIPT = Path(__file__).with_name("log_to_server.py")
PROCESSES, STEPS = 8, 60  # a quarter of a second each


def start_server(folder: Path, port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
            return server
        except OSError:
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.3)


def stop(server: subprocess.Popen) -> None:
    import psutil

    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=30)
    server.wait()


@pytest.mark.slow
@pytest.mark.ray
def test_an_outage_of_the_server_loses_nothing(tmp_path):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server = start_server(tmp_path, port)
    try:
        MlflowClient(uri).create_experiment("many")
        workers = [
            subprocess.Popen(
                [sys.executable, str(SCRIPT), uri, str(number), str(STEPS)], stderr=subprocess.PIPE
            )
            for number in range(PROCESSES)
        ]
        client = MlflowClient(uri)
        deadline = time.monotonic() + 120
        # All have begun: an address that fails before a run is open is an error, and meant to be.
        while sum("value" in run.data.metrics for run in client.search_runs(["1"])) < PROCESSES:
            assert time.monotonic() < deadline
            time.sleep(0.3)
        stop(server)
        time.sleep(5)
        server = start_server(tmp_path, port)
        for worker in workers:
            _, errors = worker.communicate(timeout=180)
            assert worker.returncode == 0, errors.decode()[-2000:]
        runs = client.search_runs(["1"])
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            first = 1000 * int(run.data.params["number"])
            history = client.get_metric_history(run.info.run_id, "value")
            assert sorted(int(point.value) for point in history) == list(range(first, first + STEPS))
    finally:
        stop(server)
