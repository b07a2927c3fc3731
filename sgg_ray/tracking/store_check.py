"""Find out whether an MLflow store answers and is of this MLflow's version, without making or changing one."""

import os
import sqlite3
from contextlib import closing

from sgg_ray.bounded import refused_name
from sgg_ray.errors import ClusterError, ConfigError
from sgg_ray.secrets import redacted
from sgg_ray.tracking.store import connect, reason, sqlite_file

LOCK_SECONDS = 15.0


def check_store(uri: str) -> str:
    """What is at ``uri``, in words.

    Raises:
        ClusterError: it cannot be used.
    """
    file = sqlite_file(uri)
    if file is not None:
        try:
            check_database(uri)
        except ConfigError as error:
            raise ClusterError(error.problems[0].removeprefix("tracking.uri: ")) from error
        if not file.exists():
            return f"{file} will be created"
    try:
        connect(uri).search_experiments(max_results=1)
    except Exception as error:
        raise ClusterError(reason(error)) from error
    return f"{redacted(uri)} answers"


def check_database(uri: str) -> None:
    """See that a sqlite database can be written, or made. MLflow 3.17 tries for 100 seconds before it says so.

    Raises:
        ConfigError: it cannot.
    """
    file = sqlite_file(uri)
    if file is None:
        return
    if refused := refused_name(file):
        raise ConfigError(f"tracking.uri: {file} cannot be a database ({refused}); choose another name")
    if not file.exists():
        there = next(folder for folder in file.absolute().parents if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise ConfigError(f"tracking.uri: cannot write to {there}; choose another place for the database")
        return
    try:
        with closing(sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")  # as for writing; other runs hold it for moments
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        advice = (
            "another process has locked it: end that process, or wait for it"
            if "locked" in str(error)
            else "choose another place, or change its permissions"
        )
        raise ConfigError(f"tracking.uri: {file} cannot be used as a database: {error}; {advice}") from error
