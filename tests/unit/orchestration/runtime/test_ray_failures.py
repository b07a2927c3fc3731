"""Ray's errors are this package's, in one line."""

from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from sgg_ray.errors import ClusterError, DataError
from sgg_ray.orchestration.runtime.ray_failures import from_ray

SAID = """Task was killed due to the node running low on memory.
Memory on the node (IP: 10.0.0.2, ID: 5f) where the task was running was 14.61GB / 15.00GB (0.974), which exceeds the \
memory usage threshold of 0.95. Ray killed this worker (ID: 1c) because it was the most recently scheduled task.
Top 10 memory users:
PID\tMEM(GB)\tCOMMAND
411\t8.47\tray::RayTrainWorker
412\t3.10\tray::TaskWorker
413\t0.20\tpython
414\t0.10\tbash
"""


def test_out_of_memory_names_what_ate_it_and_what_to_lower():
    error = from_ray(OutOfMemoryError(SAID))
    (line,) = error.problems
    assert isinstance(error, ClusterError)
    assert "14.61GB / 15.00GB in use" in line
    assert "most had ray::RayTrainWorker 8.47 GB, ray::TaskWorker 3.10 GB, python 0.20 GB;" in line
    assert "bash" not in line
    assert "lower train.batch_size" in line


def test_an_error_of_this_package_comes_out_of_its_wrapper():
    cause = DataError("target: no rows")
    assert from_ray(RayTaskError("score", "trace", cause)) is cause


def test_another_error_is_one_line():
    error = from_ray(ActorDiedError())
    assert isinstance(error, ClusterError)
    assert len(error.problems) == 1
    assert "\n" not in error.problems[0]


def test_what_a_process_may_have_died_of_is_left_out():
    said = "The actor is dead because its worker process has died."
    possible = (
        "Worker exit type: SYSTEM_ERROR Worker exit detail: "
        + "the process was killed by the OOM killer. " * 20
    )
    error = from_ray(RayError(f"{said} {possible}"), None, "training failed: ")
    assert error.problems == (f"training failed: {said}",)
