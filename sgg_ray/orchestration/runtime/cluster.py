"""Connect to Ray, and leave nothing running."""

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._raylet import AuthenticationTokenLoader  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import RayError

from sgg_ray.config import RayConfig, resolved
from sgg_ray.errors import ClusterError, SggError, Terminated
from sgg_ray.orchestration.listener import Listener
from sgg_ray.orchestration.runtime.capacity import RAY, grow
from sgg_ray.orchestration.runtime.executor import Executor
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
