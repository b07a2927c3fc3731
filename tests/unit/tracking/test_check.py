"""A database that cannot be used is found before anything starts."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sgg_ray.errors import ConfigError
from sgg_ray.tracking import check_database
from sgg_ray.tracking import store_check as check


def test_one_that_is_there_or_can_be_made_will_do(tmp_path: Path):
    check_database("http://127.0.0.1:9")  # not for us to see
    check_database(f"sqlite:///{tmp_path}/new/mlflow.db")
    assert not (tmp_path / "new").exists()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("create table runs (id text)")
    before = (tmp_path / "mlflow.db").read_bytes()
    check_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_what_is_none_is_said_at_once(tmp_path: Path):
    (tmp_path / "junk.db").write_text("no database at all, and longer than a header of one hundred bytes" * 9)
    for name, reason in (("junk.db", "file is not a database; choose"), ("", "unable to open database file")):
        with pytest.raises(
            ConfigError, match=rf"^tracking\.uri: {tmp_path}.* cannot be used as a database: {reason}"
        ):
            check_database(f"sqlite:///{tmp_path}/{name}")
    with pytest.raises(ConfigError, match=r"^tracking\.uri: cannot write to .*junk\.db"):
        check_database(f"sqlite:///{tmp_path}/junk.db/mlflow.db")


def test_one_that_another_process_keeps_is_waited_for_and_given_up(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(check, "LOCK_SECONDS", 0.2)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="database is locked; another process has locked it"):
            check_database(f"sqlite:///{tmp_path}/mlflow.db")
        other.execute("ROLLBACK")
        check_database(f"sqlite:///{tmp_path}/mlflow.db")
