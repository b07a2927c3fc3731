"""A Ray head in a process of its own, as on a cluster that others use too."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from ports import free_port

# Live as long as a node, or the cluster: Ray 2.60 starts one coordinator for all who use Ray Train, and leaves it.
RAYS_OWN = ("DashboardAgent", "RuntimeEnvAgent", "_AutoscalingCoordinatorActor")
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


class RunningHead:
    """Two CPUs, a job server, and a token without which nobody gets in.

    Args:
        folder: for the token and the log.

    Attributes:
        environment: in which commands find the head.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        token = folder / "token"
        token.write_text("a-token-of-this-head-alone-0123456789")
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.environment = environment

    def __enter__(self) -> "RunningHead":
        port, dashboard = free_port(), free_port()
        options = ["--head", "--block", "--num-cpus=2", "--disable-usage-stats", f"--port={port}"]
        options += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        # By default all heads of a machine listen for jobs at one port.
        options += [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
        self.log = (self.folder / "head.log").open("w")
        self.process = subprocess.Popen(
            [*RAY, "start", *options],
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        # Jobs are submitted to the first, commands that say `ray.address: auto` join the second.
        self.environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
        self.environment["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while self._ray("job", "list").returncode:
            assert self.process.poll() is None, (self.folder / "head.log").read_text()
            assert time.monotonic() < deadline, "the head does not answer"
            time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        tree = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for part in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                part.kill()
        psutil.wait_procs(tree, timeout=30)
        self.process.wait()
        self.log.close()

    def processes(self, title: str) -> list[psutil.Process]:
        """Workers of the head with such a title."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(title):
                    found.append(process)
        return found

    def left(self) -> list[str]:
        """Actors, placement groups and busy workers that are there."""
        actors = self._states("actors", {"DEAD"})
        groups = self._states("placement-groups", {"REMOVED"})
        busy = []
        for process in self.processes("ray::"):
            with contextlib.suppress(psutil.Error):
                title = " ".join(process.cmdline()).strip()
                busy += [] if title.startswith("ray::IDLE") or title.endswith(RAYS_OWN) else [title]
        return [*(actor for actor in actors if RAYS_OWN[-1] not in actor), *groups, *busy]

    def _states(self, kind: str, gone: set[str]) -> list[str]:
        """Ray's own list, over its state API."""
        import yaml

        done = self._ray("list", kind, "--format", "yaml", "--limit", "1000")
        assert done.returncode == 0, done.stderr
        rows = yaml.safe_load(done.stdout[done.stdout.index("---") :]) if "---" in done.stdout else []
        return [
            f"{kind}: {row.get('class_name') or row.get('name')} {row['state']}"
            for row in rows or []
            if row["state"] not in gone
        ]

    def _ray(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([*RAY, *arguments], env=self.environment, capture_output=True, text=True)
