"""Connect to Ray, check that the cluster is large enough, and leave nothing running."""

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._raylet import AuthenticationTokenLoader  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import RayError

from sgg_ray.artifacts import is_uri, local_folder
from sgg_ray.config import Config, RayConfig, resolved
from sgg_ray.errors import CapacityError, ClusterError, SggError, Terminated
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.executor import Executor, Resources
from sgg_ray.orchestration.runtime.ray_executor import RayExecutor
from sgg_ray.orchestration.runtime.ray_failures import from_ray
from sgg_ray.orchestration.runtime.ray_watch import leave_dead, watched

# Set for the driver and inherited by every worker: nothing goes out unasked, Ray's own notices stay quiet, and what
# workers report is seen within half a second, not two: short trainings would wait longer for that than they take.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
NODE_POLL_SECONDS = 1.0
RAY = RayExecutor()


@contextmanager
def connected(config: RayConfig) -> Iterator[None]:
    """A Ray session for the length of a ``with`` block: a local one, or a connection to a running cluster.

    ``local`` starts a Ray of its own and stops it at the end. ``auto`` and ``ray://host:port`` join a cluster; actors
    of this driver end with the connection. A session that is already there (a notebook, a test, a job) is used as it
    is and left as it was.

    Raises:
        ClusterError: no cluster answers at the address; in the block, what Ray has raised, or that it has died.
    """
    stack, chosen = ExitStack(), set(os.environ)
    environment = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
    os.environ.update(environment)
    if ray.is_initialized():
        with _in_own_words():
            yield
        return
    starts = config.address == "local" and "RAY_ADDRESS" not in os.environ
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        _start_or_join(config, starts, environment, stack)
    except BaseException:
        stack.close()
        raise
    _keep_handler(on_termination)
    lost = False
    try:
        if starts and "RAY_AUTH_MODE" not in chosen and not is_token_auth_enabled():
            raise ClusterError("ray.address: Ray started without asking for a token; set RAY_AUTH_MODE=token")
        with _in_own_words(), watched(own=starts) as watch:
            try:
                yield
            finally:
                lost = watch.look()
    finally:
        if lost:
            leave_dead(own=starts)
        else:
            ray.shutdown()
        stack.close()


def _start_or_join(config: RayConfig, starts: bool, environment: Mapping[str, str], stack: ExitStack) -> None:
    """Start a Ray, or join the cluster that the configuration or a submitted job names.

    Args:
        starts: start one.
        environment: of a cluster's workers.
        stack: gets what has to last as long as a Ray that was started.

    Raises:
        ClusterError: Ray does not start, or no cluster answers at the address.
        Terminated: SIGTERM came meanwhile.
    """
    arguments = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": "sgg"}
    try:
        # A job submitted to a cluster finds its address in RAY_ADDRESS: "local" in the file must not start a second
        # Ray inside the cluster's head.
        if starts:
            stack.enter_context(kept_to_this_machine())
            ray.init(address="local", include_dashboard=False, num_cpus=_local_cpus(config), **arguments)
        else:
            written = os.environ.get("RAY_ADDRESS", "auto") if config.address == "local" else config.address
            address = resolved(written, "ray.address")
            ray.init(address=address, runtime_env={"env_vars": environment}, **arguments)
    except SggError:
        raise
    except SystemExit as error:
        if error.code == signal.SIGTERM:  # Ray's own handler, while it starts
            raise Terminated from None
        raise
    # Ray 2.60 raises a bare Exception when its own processes do not start in time.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if starts:
            raise ClusterError(
                f"ray.address: Ray did not start on this machine ({reason}); free cores and memory, and try again"
            ) from error
        raise ClusterError(
            f"ray.address: no Ray cluster answers at '{config.address}' ({reason}); "
            "start one with 'ray start --head', or use 'local'"
        ) from error


@contextmanager
def kept_to_this_machine() -> Iterator[None]:
    """Let a Ray that starts in the block listen on loopback alone, and take no command without a token of its own.

    Whoever may send a Ray commands may run programs as its user. Ray 2.60 listens on all interfaces, but for macOS and
    Windows, where it does without; this is their switch. The token is in memory only. What the user has set stays.
    """
    switch = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    own = {switch: "0"}
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        own["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    own = {name: value for name, value in own.items() if name not in os.environ}
    before = ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(own)
    ray_constants.ENABLE_RAY_CLUSTER = os.environ[switch].lower() in ("1", "true")
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
        ray_constants.ENABLE_RAY_CLUSTER = before
        AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _in_own_words() -> Iterator[None]:
    """Ray's errors become this package's: nobody who calls it has to know Ray's."""
    try:
        yield
    except RayError as error:
        raise from_ray(error) from error


def _keep_handler(on_termination: Any) -> None:
    """Put the program's own handler of SIGTERM back: Ray 2.60 replaces it by one that prints a C++ stack trace."""
    if callable(on_termination) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_termination)


def _local_cpus(config: RayConfig) -> int:
    """CPUs of a local Ray: those of the machine, two at least, so that a worker and its helpers fit on any laptop."""
    return max(2, os.cpu_count() or 1)


@contextmanager
def opened(
    config: RayConfig, listener: Listener, executor: Executor | None = None, trainings: int = 1
) -> Iterator[Executor]:
    """What a driver runs its work with: the executor that it was given, or Ray for the length of a ``with`` block.

    Args:
        trainings: how many are to run at a time, for an autoscaler.

    Raises:
        ClusterError: no cluster answers at the address.
    """
    if executor is not None:
        yield executor
        return
    listener.stage("starting Ray")
    with connected(config):
        grow(config, listener, trainings)
        yield RAY


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


def in_all(executor: Executor) -> Resources:
    """What the nodes of the cluster have together."""
    nodes = executor.nodes()
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


def check_capacity(config: Config, executor: Executor = RAY) -> None:
    """Compare what the configuration asks for with what the cluster has, before anything starts.

    Raises:
        CapacityError: naming each key that asks for too much.
    """
    cluster = in_all(executor)
    cpus, gpus = cluster.cpus, cluster.gpus
    asked = config.ray
    problems = []
    if asked.num_workers * asked.cpus_per_worker > cpus:
        problems.append(
            f"ray.num_workers: {asked.num_workers} workers of {asked.cpus_per_worker:g} CPUs "
            f"(ray.cpus_per_worker) need "
            f"{asked.num_workers * asked.cpus_per_worker:g} CPUs, the cluster has {cpus:g}; request fewer, add "
            f"nodes, or "
            "wait for an autoscaler's (ray.scale_up_seconds)"
        )
    for key, count, each in (
        ("gpus_per_worker", asked.num_workers, asked.gpus_per_worker),
        ("gpus_per_task_worker", 1, asked.gpus_per_task_worker),
    ):
        if count * each > gpus:
            problems.append(
                f"ray.{key}: {count} × {each:g} GPUs are requested, the cluster has {gpus:g}; lower it (0 = CPU only), "
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
