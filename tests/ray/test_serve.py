"""`sgg serve` as a process: its predictions are those of `sgg predict`, and it stops when it is told to."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
import toy
from ports import free_port

from sgg_ray.artifacts import open_run

pytest.importorskip("uvicorn", reason="Ray Serve is not installed: python -m pip install 'sgg-ray[serve]'")
SGG = (sys.executable, "-c", "from sgg_ray.cli import main; main()")


def ask(address, texts):
    body = json.dumps({"texts": texts}).encode()
    request = urllib.request.Request(f"{address}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.ray
@pytest.mark.slow
def test_it_answers_as_sgg_predict_does_and_stops_cleanly(finished_run):
    texts = [row["text"] for row in toy.sentences(60, seed=12)]
    expected = open_run(finished_run).predict(texts)
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_ADDRESS")}
    command = [*SGG, "serve", str(finished_run), "--port", str(port), "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        said = [process.stdout.readline() for _ in range(3)]
        address = json.loads("".join(said))["address"]
        assert address == f"http://127.0.0.1:{port}"
        with ThreadPoolExecutor(8) as pool:
            found = [one for (one,) in pool.map(lambda text: ask(address, [text]), texts)]
        assert [one["predicted"] for one in found] == expected["predicted"].tolist()
        assert [one["confidence"] for one in found] == pytest.approx(
            expected["confidence"].tolist(), abs=1e-6
        )
        for name in ("negative", "positive"):
            theirs = [one["probabilities"][name] for one in found]
            assert theirs == pytest.approx(expected[f"p_{name}"].tolist(), abs=1e-6)
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(address, [["one", "two"]])
        assert json.load(refused.value)["error"] == "texts.0: the model takes text, found 2 values"
        with urllib.request.urlopen(f"{address}/metrics") as metrics:
            assert f"sgg_texts_total {len(texts)}.0" in metrics.read().decode()
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        rest = process.communicate(timeout=60)
        assert time.monotonic() - started < 40
        assert process.returncode == 143
        assert rest[1].strip().splitlines()[-1] == "stopped"
        assert "Traceback" not in rest[1]
        with socket.socket() as again:
            assert again.connect_ex(("127.0.0.1", port)) != 0
    finally:
        process.kill()
        process.wait()
