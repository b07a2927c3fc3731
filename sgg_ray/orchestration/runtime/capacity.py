"""What a cluster has room for, and whether that is enough."""

import time
from collections.abc import Mapping

import ray

from sgg_ray.artifacts import is_uri, local_folder
from sgg_ray.config import Config, RayConfig
from sgg_ray.errors import CapacityError, ConfigError
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Executor, Resources
from sgg_ray.orchestration.runtime.ray_executor import RayExecutor

NODE_POLL_SECONDS = 1.0
RAY = RayExecutor()


def task_worker_count(config: Config, executor: Executor) -> int:
    """How many task workers to start: one a task, unless the configuration or the cluster allows fewer.

    Without GPUs and without a number in the configuration there is no more than one a core: beside each other they
    would only take turns, and each takes seconds to start and holds a model.
    """
    tasks = 1 + len(config.sources)
    cluster = in_all(executor)
    slots = int(cluster.cpus / max(config.ray.cpus_per_task_worker, 1e-9))
    asked = config.ray.task_workers or tasks
    if config.ray.gpus_per_task_worker > 0:
        slots = min(slots, int(cluster.gpus / config.ray.gpus_per_task_worker))
    elif config.ray.task_workers is None:
        slots = min(slots, int(cluster.cpus))
    return max(1, min(asked, tasks, slots))


def in_all(executor: Executor, labels: Mapping[str, str] | None = None) -> Resources:
    """What the nodes of the cluster have together, or those of them with these labels."""
    nodes = executor.nodes(labels)
    return Resources(sum(node.cpus for node in nodes), sum(node.gpus for node in nodes))


def rooms(cpus: float, gpus: float, executor: Executor = RAY) -> list[int]:
    """How many processes of so many CPUs and GPUs each node holds: one process is on one node."""
    return [node.room_for(Resources(cpus, gpus)) for node in executor.nodes()]


def grow(config: RayConfig, listener: Listener, trainings: int = 1, executor: Executor = RAY) -> None:
    """Ask an autoscaler for room for ``trainings`` at a time, and wait until it is there or the time is over.

    Whether what is there then will do, is for those to say who need it.
    """
    if not config.scale_up_seconds:
        return
    needs = [(trainings * config.num_workers, config.cpus_per_worker, config.gpus_per_worker)]
    if config.gpus_per_task_worker:
        needs.append((1, config.cpus_per_task_worker, config.gpus_per_task_worker))

    def is_there() -> bool:
        return all(sum(rooms(cpus, gpus, executor)) >= count for count, cpus, gpus in needs)

    if is_there():
        return
    from ray.autoscaler.sdk import request_resources  # takes a second to load

    listener.stage(f"waiting up to {config.scale_up_seconds} s for nodes")
    request_resources(
        bundles=[{"CPU": cpus, "GPU": gpus} for count, cpus, gpus in needs for _ in range(count)]
    )
    deadline = time.monotonic() + config.scale_up_seconds
    try:
        while not is_there():
            if time.monotonic() > deadline:
                return
            time.sleep(NODE_POLL_SECONDS)
    finally:
        # Asked for once: nodes stay for the autoscaler's idle time, and then only while they have work.
        request_resources(bundles=[])


def refuse_elastic(config: Config, command: str) -> None:
    """Refuse keys for the workers of one training where there are many trainings: ``command`` is what has them.

    Raises:
        ConfigError: one is set.
    """
    keys = [key for key in ("min_workers", "worker_labels") if getattr(config.ray, key)]
    if keys:
        raise ConfigError([f"ray.{key}: is for sgg train; in a {command} leave it out" for key in keys])


def check_capacity(config: Config, executor: Executor = RAY) -> None:
    """Compare what the configuration asks for with what the cluster has, before anything starts.

    Raises:
        CapacityError: naming each key that asks for too much.
    """
    cluster = in_all(executor)
    asked = config.ray
    labelled = in_all(executor, asked.worker_labels)
    key = "num_workers" if asked.min_workers is None else "min_workers"
    count = asked.fewest_workers
    which = (
        f"nodes with ray.worker_labels {asked.worker_labels} have" if asked.worker_labels else "cluster has"
    )
    problems = []
    if count * asked.cpus_per_worker > labelled.cpus:
        problems.append(
            f"ray.{key}: {count} workers of {asked.cpus_per_worker:g} CPUs (ray.cpus_per_worker) need "
            f"{count * asked.cpus_per_worker:g} CPUs, the {which} {labelled.cpus:g}; request fewer, add nodes, or "
            "wait for an autoscaler's (ray.scale_up_seconds)"
        )
    for key, number, each, gpus, whose in (
        ("gpus_per_worker", count, asked.gpus_per_worker, labelled.gpus, which),
        ("gpus_per_task_worker", 1, asked.gpus_per_task_worker, cluster.gpus, "cluster has"),
    ):
        if number * each > gpus:
            problems.append(
                f"ray.{key}: {number} × {each:g} GPUs are requested, the {whose} {gpus:g}; lower it (0 = CPU only), "
                "add GPU nodes, or wait for an autoscaler's (ray.scale_up_seconds)"
            )
    nodes = len(executor.nodes())
    if nodes > 1 and not (is_uri(asked.storage_path) or local_folder(asked.storage_path).is_absolute()):
        problems.append(
            f"ray.storage_path: '{asked.storage_path}' is relative, and each of the {nodes} nodes would have a "
            f"folder of its "
            "own; give the absolute path of a folder that all of them share, or a URI such as s3://bucket/runs"
        )
    if problems:
        raise CapacityError(problems)


def check_room(option: str, workers: int, cpus: float, gpus: float) -> None:
    """Whether the cluster holds so many workers of so many CPUs and GPUs each.

    Raises:
        CapacityError: naming what is too little.
    """
    has = ray.cluster_resources()
    for kind, each in (("CPU", cpus), ("GPU", gpus)):
        if workers * each > has.get(kind, 0.0):
            raise CapacityError(
                f"{option}: {workers} workers of {each:g} {kind}s need {workers * each:g}, the cluster has "
                f"{has.get(kind, 0.0):g}; request fewer"
            )
