"""Processes that work on one thing together, as a group of ``torch.distributed``: Ray Train without checkpoints."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import ray
import ray.train
import ray.train.torch
from ray.train.torch import TorchTrainer

from sgg_ray.artifacts import StorageFolder
from sgg_ray.config import RayConfig
from sgg_ray.errors import ClusterError, SggError
from sgg_ray.orchestration.runtime.placement import own_placement_groups, remove_all
from sgg_ray.orchestration.runtime.ray_failures import from_ray

T = TypeVar("T")
POLL_SECONDS = 0.5
RESIZE_SECONDS = 60.0  # between two looks at whether there is room for more workers, or fewer
NEVER = 1e9  # seconds: a group without checkpoints would begin anew with every node that comes


def scaling(asked: RayConfig, resize_seconds: float = RESIZE_SECONDS) -> ray.train.ScalingConfig:
    """``ray.min_workers`` to ``ray.num_workers`` processes, and what each of them needs."""
    return ray.train.ScalingConfig(
        num_workers=asked.num_workers
        if asked.min_workers is None
        else (asked.min_workers, asked.num_workers),
        elastic_resize_monitor_interval_s=resize_seconds,
        label_selector=asked.worker_labels or None,
        use_gpu=asked.gpus_per_worker > 0,
        resources_per_worker={
            "CPU": asked.cpus_per_worker,
            **({"GPU": asked.gpus_per_worker} if asked.gpus_per_worker > 0 else {}),
        },
    )


def failures(asked: RayConfig) -> ray.train.FailureConfig:
    """How often workers, and Ray Train's controller, are started again."""
    return ray.train.FailureConfig(max_failures=asked.max_failures, controller_failure_limit=3)


def run_in_group(
    function: Callable[..., T],
    arguments: Sequence[object],
    asked: RayConfig,
    state: StorageFolder,
    seconds: float | None,
    meanwhile: Callable[[], None],
) -> T:
    """Call a function in all processes of a group, with ``arguments`` and the process's device behind them.

    If a process dies, all begin again, as often as ``ray.max_failures`` says.

    Args:
        state: for Ray Train's own files; deleted before and afterwards.
        seconds: bound for all of it; None for as long as it takes.
        meanwhile: called now and then while it runs, and once when it has ended.

    Returns:
        What the first process returned.

    Raises:
        SggError: what the function raised, or what kept it from its end.
    """
    state.delete()
    trainer = TorchTrainer(
        _member,
        train_loop_config={"function": function, "arguments": ray.put(tuple(arguments))},
        scaling_config=scaling(asked, NEVER),
        run_config=ray.train.RunConfig(
            name=state.name,
            storage_path=state.parent,
            storage_filesystem=state.filesystem,
            failure_config=failures(asked),
        ),
    )
    result = _fit(trainer, seconds, meanwhile)
    state.delete()
    if result.error is not None:
        raise from_ray(result.error, state.path)
    if isinstance(result.return_value, SggError):
        raise result.return_value
    return result.return_value  # pyright: ignore[reportReturnType]


def _member(given: dict[str, Any]) -> Any:
    """The function's result, or the error that all processes meet alike: raised, it would be tried again."""
    try:
        return given["function"](*ray.get(given["arguments"]), ray.train.torch.get_device())
    except SggError as error:
        return error


def fit_in_thread(trainer: TorchTrainer) -> Future[ray.train.Result]:
    """Fit in a thread, so that this one hears of Ctrl-C; see :func:`has_ended`."""
    fitting: Future[ray.train.Result] = Future()

    def fit() -> None:
        try:
            fitting.set_result(trainer.fit())
        except BaseException as error:
            fitting.set_exception(error)

    threading.Thread(target=fit, name="ray-train", daemon=True).start()
    return fitting


def has_ended(fitting: Future[ray.train.Result], seconds: float) -> bool:
    """Whether it ends within so many seconds.

    Not the thread's join(): Python 3.11 takes a thread for ended whose join() is interrupted (cpython issue 89437).
    """
    return bool(wait([fitting], seconds).done)


def _fit(trainer: TorchTrainer, seconds: float | None, meanwhile: Callable[[], None]) -> ray.train.Result:
    """Fit within so many seconds; what is still running then, or when this is interrupted, loses its processes."""
    others = own_placement_groups()
    fitting = fit_in_thread(trainer)
    try:
        deadline = None if seconds is None else time.monotonic() + seconds
        while not has_ended(fitting, POLL_SECONDS):
            meanwhile()
            if deadline is not None and time.monotonic() > deadline:
                raise ClusterError(
                    "the workers did not come to an end in time; look at their logs in Ray's session"
                )
        meanwhile()
    except BaseException:
        remove_all(own_placement_groups() - others)
        raise
    if (error := fitting.exception()) is not None:
        raise from_ray(error)
    return fitting.result()
