"""A cluster of three nodes on this machine, one of which dies while a run goes on. Prints what came of it as JSON.

    python tests/cluster/lose_a_node.py CASE CONFIG MOMENT

CASE is ``training``, ``sweep`` or ``scoring``; MOMENT says when the node dies: after this many training steps of the
run (or of the sweep), or seconds after scoring has begun. In the case ``elastic`` there is one node, a second one comes
after so many steps, and the last one that has work dies once both train.
"""

import json
import logging
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import ray
from ray.cluster_utils import Cluster

from sgg_ray import load_config
from sgg_ray.orchestration.listener import NullListener
from sgg_ray.orchestration.runtime import worker_group
from sgg_ray.orchestration.score.score_driver import score
from sgg_ray.orchestration.train import torch_trainer
from sgg_ray.orchestration.train.train_driver import train
from sgg_ray.orchestration.tune.tune_driver import tune

TITLES = {
    "training": "ray::RayTrainWorker",
    "elastic": "ray::RayTrainWorker",
    "sweep": "ray::ImplicitFunc",
    "scoring": "ray::TaskWorker",
}


class Killer(NullListener):
    """Removes a node that has work when the moment has come."""

    def __init__(self, cluster: Cluster, title: str, moment: float):
        self.cluster, self.title, self.moment = cluster, title, moment
        self.steps_seen = 0
        self.killed = ""

    def steps(self, run, events, total):
        if run != "target-only":
            self.steps_seen += len(events)
            if self.moment <= self.steps_seen:
                self.strike()

    def stage(self, text):
        if self.title == TITLES["scoring"] and text == "scoring the sources":
            threading.Timer(self.moment, self.strike).start()

    def strike(self):
        for node in () if self.killed else self.cluster.worker_nodes:
            titles = _titles(node)
            if any(self.title in title for title in titles):
                self.killed = f"{len(titles)} processes"
                self.cluster.remove_node(node, allow_graceful=False)
                return


class Grower(Killer):
    """Adds a node when the moment has come, and removes it once there are two workers."""

    def __init__(self, cluster: Cluster, title: str, moment: float):
        super().__init__(cluster, title, moment)
        self.workers: list[float] = []

    def steps(self, run, events, total):
        self.steps_seen += len(events)
        if self.moment <= self.steps_seen and not self.cluster.worker_nodes and not self.killed:
            self.cluster.add_node(num_cpus=1)
        found = [event["workers"] for event in events if "workers" in event]
        self.workers += [count for count in found if [count] != self.workers[-1:]][:1]
        if 2.0 in found:
            self.strike()


def _titles(node) -> list[str]:
    found = []
    for child in psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True):
        try:
            found.append(" ".join(child.cmdline()))
        except psutil.Error:
            continue
    return found


def main(case: str, path: str, moment: float) -> dict[str, object]:
    config = load_config(path)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(0 if case == "elastic" else 2):
        cluster.add_node(num_cpus=1)
    ray.init(cluster.address, namespace="sgg", logging_level=logging.ERROR, log_to_driver=False)
    cluster.wait_for_nodes()
    killer = (Grower if case == "elastic" else Killer)(cluster, TITLES[case], moment)
    torch_trainer.scaling = partial(worker_group.scaling, resize_seconds=1.0)
    started = time.monotonic()
    if case in ("training", "elastic"):
        folder = train(config, killer).folder
        found = {
            "probabilities": np.load(folder / "probabilities.npy").tolist(),
            "workers": getattr(killer, "workers", None),
        }
    elif case == "sweep":
        found = {
            "trials": [[trial.number, trial.status, trial.loss] for trial in tune(config, killer).trials]
        }
    else:
        report = score(config, killer).report
        found = {"scores": {row.source: row.score and row.score.value for row in report.sources}}
    result = {**found, "killed": killer.killed, "seconds": time.monotonic() - started}
    ray.shutdown()
    cluster.shutdown()
    return result


if __name__ == "__main__":
    outcome = main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    Path(sys.argv[4]).write_text(json.dumps(outcome)) if len(sys.argv) > 4 else print(json.dumps(outcome))
