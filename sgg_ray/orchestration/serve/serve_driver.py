"""`sgg serve`: the model of a run behind HTTP, in replicas of Ray Serve, until it is told to stop."""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from sgg_ray.artifacts import open_run
from sgg_ray.errors import ClusterError, ConfigError
from sgg_ray.orchestration.listener import Listener, NullListener
from sgg_ray.orchestration.runtime.capacity import check_room
from sgg_ray.orchestration.runtime.cluster import connected
from sgg_ray.prediction import Predictor
from sgg_ray.tasks import Text, parts_of

APPLICATION = "sgg"
WAIT_SECONDS = 0.005  # for further requests of a batch
MOST_AT_A_TIME = 512  # requests in a replica; Serve answers further ones with 503
TIMEOUT_SECONDS = 120


class Replica:
    """A model in a process of its own, which takes texts of several requests at once.

    Args:
        folder: of the model.
        run: name of its run.
        device: ``cpu`` or ``cuda``.
        batch: most texts that the model sees at once.
    """

    def __init__(self, folder: str, run: str, device: str, batch: int):
        from ray import serve

        from sgg_ray.orchestration.serve.web_app import Metrics

        self.predictor, self.run, self.metrics = Predictor(folder, device), run, Metrics()
        # A batch is waited for in the event loop and computed beside it: /health answers meanwhile.
        self.one = serve.batch(max_batch_size=batch, batch_wait_timeout_s=WAIT_SECONDS)(self._label)

    async def _label(self, texts: list[Text]) -> list[dict[str, Any]]:
        self.metrics.batches.observe(len(texts))
        frame = await asyncio.to_thread(self.predictor.predict, texts)
        return [dict(zip(frame.columns, row)) for row in frame.itertuples(index=False, name=None)]

    async def predict(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """A row for each text. What is wrong with one request's texts fails this request alone."""
        fields = self.predictor.fields
        for number, text in enumerate(texts):
            if len(parts_of(text)) != len(fields):
                raise ConfigError(
                    f"texts.{number}: the model takes {', '.join(fields)}, found {len(parts_of(text))} values"
                )
        return await asyncio.gather(*(self.one(text) for text in texts))

    def __serve_build_asgi_app__(self):
        """Ray Serve's hook (2.60) for an interface that needs the model."""
        from sgg_ray.orchestration.serve.web_app import Served, build_app

        labels = () if self.predictor.generates else self.predictor.labels
        return build_app(Served(self.run, labels), self.predict, self.metrics)


@contextmanager
def served(
    run: str | Path,
    listener: Listener | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    replicas: int = 1,
    batch: int = 64,
) -> Iterator[str]:
    """Context manager: the address under which the model of a run answers for the length of the block.

    Args:
        run: folder of a finished training, or its name in ``runs``.
        host: interface to listen on. Whoever reaches it may use the model: there is no password.
        port: to listen on.
        replicas: processes with the model, each with ``ray.cpus_per_worker`` and ``ray.gpus_per_worker`` of the run.
        batch: most texts that a replica sees at once.

    Raises:
        ConfigError: there is no such run, the port is taken, or a package is missing.
        ClusterError: no cluster answers, it is too small, or Serve does not start.
    """
    listener = listener or NullListener()
    trained = open_run(run)
    _check_packages()
    _check_port(host, port)
    asked = trained.config.ray
    device = "cuda" if asked.gpus_per_worker > 0 else "cpu"
    listener.stage("starting Ray Serve")
    with _quiet(), connected(asked):
        from ray import serve

        check_room("--replicas", replicas, asked.cpus_per_worker, asked.gpus_per_worker)
        deployment = serve.deployment(serve.ingress()(Replica)).options(  # pyright: ignore[reportAttributeAccessIssue]
            name="model",
            num_replicas=replicas,
            max_ongoing_requests=MOST_AT_A_TIME,
            max_queued_requests=MOST_AT_A_TIME,
            ray_actor_options={"num_cpus": asked.cpus_per_worker, "num_gpus": asked.gpus_per_worker},
            graceful_shutdown_timeout_s=5,
        )
        quiet: Any = {"log_level": "ERROR", "enable_access_log": False}
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": host, "port": port, "request_timeout_s": TIMEOUT_SECONDS},
                logging_config=quiet,
            )
            application = deployment.bind(str(trained.model), trained.config.name, device, batch)
            serve.run(application, name=APPLICATION, route_prefix="/", logging_config=quiet)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise ClusterError(f"Ray Serve did not start the model: {reason}") from error
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
        finally:
            with suppress(Exception):  # the cluster may have gone already
                serve.delete(APPLICATION)


def wait_for_ever() -> None:
    """Until Ctrl-C or SIGTERM raise an exception."""
    threading.Event().wait()


def _check_packages() -> None:
    try:
        import_module("ray.serve")
    except ImportError as error:
        raise ConfigError(
            f"sgg serve needs the package {error.name}; python -m pip install 'sgg-ray[serve]'"
        ) from error


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(address)
    except OSError as error:
        raise ConfigError(
            f"--host, --port: cannot listen on {host}:{port} ({error.strerror or error}); give others"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Serve's own messages are for its developers."""
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    logger = logging.getLogger("ray.serve")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
