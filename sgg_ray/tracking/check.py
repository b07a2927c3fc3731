"""Find out whether an MLflow store answers and is of this MLflow's version, without making or changing one."""

import os
from pathlib import Path

from sgg_ray.errors import ClusterError
from sgg_ray.tracking.store import connect, reason, without_password


def check_store(uri: str) -> str:
    """What is at ``uri``, in words.

    Raises:
        ClusterError: it cannot be used.
    """
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        if not file.exists():
            there = next(folder for folder in file.absolute().parents if folder.exists())
            if not os.access(there, os.W_OK):
                raise ClusterError(f"cannot write to {there}")
            return f"{file} will be made"
    try:
        connect(uri).search_experiments(max_results=1)
    except Exception as error:
        raise ClusterError(reason(error)) from error
    return f"{without_password(uri)} answers"
