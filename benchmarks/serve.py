"""Latency and throughput of `sgg serve` on loopback: closed-loop clients, each with one text at a time.

python benchmarks/serve.py quickstart --clients 1 8 32 --seconds 10 --replicas 2
"""

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import numpy as np

TEXTS = (
    "a film to remember",
    "two hours that nobody gives back",
    "fine",
    "the cast deserves a better script " * 3,
)


def client(host: str, port: int, until: float, seconds: list[float], failures: list[str]) -> None:
    """Ask again as soon as there is an answer; keep the time of each."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    number = 0
    while time.perf_counter() < until:
        body = json.dumps({"texts": [TEXTS[number % len(TEXTS)]]})
        started = time.perf_counter()
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status == 200:
            seconds.append(time.perf_counter() - started)
        else:
            failures.append(said.decode())
        number += 1
    connection.close()


def measure(address: str, clients: int, duration: float) -> dict[str, float]:
    host, port = urlsplit(address).hostname, urlsplit(address).port
    seconds: list[float] = []
    failures: list[str] = []
    until = time.perf_counter() + duration
    threads = [
        threading.Thread(target=client, args=(host, port, until, seconds, failures)) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1000
    return {
        "clients": clients,
        "requests/s": len(seconds) / duration,
        "p50 ms": p50,
        "p95 ms": p95,
        "p99 ms": p99,
        "failed": len(failures),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--replicas", type=int, default=1)
    asked = parser.parse_args()
    command = [sys.executable, "-c", "from sgg_ray.cli import main; main()"]
    command += ["serve", asked.run, "--port", str(asked.port), "--replicas", str(asked.replicas), "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = json.loads("".join(server.stdout.readline() for _ in range(3)))["address"]
        measure(address, 1, 2.0)  # warm up
        rows = [measure(address, clients, asked.seconds) for clients in asked.clients]
    finally:
        server.terminate()
        server.wait()
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
