import json
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgg_ray.artifacts import RunFolder
from sgg_ray.config import Config, load_config
from sgg_ray.errors import ConfigError


def make_config(**train) -> Config:
    return Config.model_validate(
        {
            "name": "try",
            "seed": 3,
            "model": {"path": "some/model"},
            "target": {"path": "rows.csv", "shots": 4},
            "sources": [{"name": "imdb", "path": "other.csv"}],
            "train": train,
        }
    )


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs", "try")


def test_a_new_run_leaves_its_settings_and_versions(folder):
    assert folder.status == "new"
    assert folder.begin(make_config()) is False
    record = folder.record
    assert record["status"] == folder.status == "running"
    assert record["seed"] == 3
    assert record["versions"]["python"].count(".") == 2
    assert {"torch", "ray", "transformers", "mlflow"} <= record["versions"].keys()
    assert record["settings"]["sources.imdb.path"] == "other.csv"
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "run.json"]


def test_config_yaml_replays(folder):
    config = make_config(max_steps=7)
    folder.begin(config)
    again = load_config(folder.path / "config.yaml")
    assert again.train == config.train
    assert again.name == "try"


def test_an_unfinished_run_resumes_with_the_same_settings(folder):
    folder.begin(make_config(max_steps=7))
    folder.update(mlflow_run_id="abc")
    started = folder.record["started"]
    killed = RunFolder(folder.storage, folder.name)
    folder._lock = None  # what the end of a process does
    assert killed.check(make_config(max_steps=7)) is True
    assert killed.begin(make_config(max_steps=7)) is True
    assert killed.record["mlflow_run_id"] == "abc"
    assert killed.record["started"] == started
    assert len(killed.record["resumed"]) == 1


def test_a_failed_run_resumes(folder):
    folder.begin(make_config())
    folder.finish("failed")
    assert folder.record["ended"] is not None
    assert folder.begin(make_config()) is True
    assert (folder.status, folder.record["ended"]) == ("running", None)


def test_other_settings_are_refused_and_named(folder):
    folder.begin(make_config(max_steps=7, batch_size=8))
    before = (folder.path / "config.yaml").read_text()
    folder.finish("failed")
    with pytest.raises(ConfigError) as caught:
        folder.begin(make_config(max_steps=9, batch_size=8))
    assert "train.max_steps was 7 and is now 9" in str(caught.value)
    assert "batch_size" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert (folder.path / "config.yaml").read_text() == before


def test_many_differences_are_counted(folder):
    folder.begin(make_config())
    other = make_config(max_steps=1, batch_size=2, learning_rate=3.0, max_length=9, logging_steps=6)
    with pytest.raises(ConfigError, match="and 2 more"):
        folder.check(other)


def test_a_finished_name_is_refused(folder):
    folder.begin(make_config())
    folder.finish()
    for attempt in (folder.check, folder.begin):
        with pytest.raises(ConfigError, match="is finished; choose another --name or delete"):
            attempt(make_config())
    assert folder.status == "finished"


def test_check_writes_nothing(folder):
    assert folder.check(make_config()) is False
    assert not folder.storage.exists()


def test_somebody_elses_folder_is_left_alone(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "config.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"is no run of sgg"):
        folder.begin(make_config())
    assert (folder.path / "config.yaml").read_text() == "mine"


def test_two_processes_do_not_write_one_run(folder):
    folder.begin(make_config())
    code = (
        "import sys; from pathlib import Path; from sgg_ray.artifacts.files import FolderLock\n"
        "FolderLock(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    assert "BlockingIOError" in subprocess.run(command, capture_output=True, text=True).stderr
    with pytest.raises(ConfigError, match="is being written by another process"):
        RunFolder(folder.storage, folder.name).begin(make_config())
    folder.finish("failed")
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_names_that_are_no_folder_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        RunFolder(tmp_path, name)


def test_storage_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"ray\.storage_path: cannot write to"):
        RunFolder(tmp_path / "file", "try").begin(make_config())


def test_an_unreadable_record_is_an_error_with_a_way_out(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json cannot be read .* choose another --name or delete"):
        folder.check(make_config())


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
events = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=3), max_size=5)


def plain(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


@settings(max_examples=30)
@given(st.lists(events, max_size=4), st.binary(max_size=20).filter(lambda tail: b"\n" not in tail))
def test_events_survive_a_kill_in_mid_write(tmp_path_factory, batches, tail):
    folder = RunFolder(tmp_path_factory.mktemp("runs"), "try")
    folder.begin(make_config())
    for batch in batches:
        folder.append_events(batch)
    expected = [{key: plain(value) for key, value in event.items()} for batch in batches for event in batch]
    assert folder.read_events() == expected
    with open(folder.path / "events.jsonl", "ab") as file:
        file.write(tail)
    assert folder.read_events() == expected
    folder.finish("failed")
    folder.begin(make_config())
    folder.append_events([{"step": 1}])
    assert folder.read_events() == [*expected, {"step": 1}]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits")
def test_a_disk_that_gets_full_leaves_no_half_event(folder):
    import resource

    folder.begin(make_config())
    folder.append_events([{"step": 0}])
    size = (folder.path / "events.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.append_events([{"step": 1}, {"step": 2, "loss": 0.123456789}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder.append_events([{"step": 2}])
    assert [event["step"] for event in folder.read_events()] == [0, 1, 2]


def test_no_events_yet(folder):
    assert folder.read_events() == []


def test_results_are_strict_json_and_parquet(folder):
    folder.begin(make_config())
    payload = {"a": np.float32(0.5), "b": np.array([[1, 2]]), "c": math.nan, "d": (1, None), "e": folder.path}
    path = folder.write_json("sub/result.json", payload)
    expected = {"a": 0.5, "b": [[1, 2]], "c": None, "d": [1, None], "e": str(folder.path)}
    assert json.loads(path.read_text()) == expected
    frame = pd.DataFrame({"x": [1, 2], "text": ["ä", "😀"]})
    pd.testing.assert_frame_equal(pd.read_parquet(folder.write_parquet("t.parquet", frame)), frame)


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(folder, monkeypatch):
    folder.begin(make_config())
    folder.write_text("result.txt", "old")
    before = sorted(path.name for path in folder.path.iterdir())

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        folder.write_text("result.txt", "new")
    assert (folder.path / "result.txt").read_text() == "old"
    assert sorted(path.name for path in folder.path.iterdir()) == before


BROKEN = (
    b'{"run": "guided", "step": 0}\n{"run": "guided", "st\n[1]\n\xff\n\n{"run": "guided", "step": 2}\n{"torn'
)


def test_broken_lines_of_events_are_dropped_and_told_when_a_run_goes_on(folder):
    folder.begin(make_config())
    (folder.path / "events.jsonl").write_bytes(BROKEN)
    assert [event["step"] for event in folder.read_events()] == [0, 2]
    folder._lock = None
    again = RunFolder(folder.storage, folder.name)
    assert again.begin(make_config()) is True
    assert "3 lines of" in again.mended
    assert "dropped" in again.mended
    assert (again.path / "events.jsonl").read_bytes() == b"".join(BROKEN.splitlines(True)[i] for i in (0, 5))


def test_whole_events_are_left_as_they_are(folder):
    folder.begin(make_config())
    folder.append_events([{"run": "guided", "step": 0}])
    before = (folder.path / "events.jsonl").read_bytes()
    folder._lock = None
    again = RunFolder(folder.storage, folder.name)
    assert again.begin(make_config()) is True
    assert not again.mended
    assert (again.path / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["events.jsonl", "run.json", "config.yaml", "metrics.json", "model"])
def test_nothing_is_written_through_a_link(folder, tmp_path, name):
    folder.begin(make_config())
    folder._lock = None
    own, outside = folder.path / name, tmp_path / "outside"
    if own.exists():
        own.rename(outside)
    else:
        outside.write_text("mine")
    own.symlink_to(outside)
    before = outside.read_bytes()
    again = RunFolder(folder.storage, folder.name)
    for attempt in (again.check, again.begin):
        with pytest.raises(ConfigError, match=f"{name} is a symbolic link"):
            attempt(make_config())
    assert outside.read_bytes() == before


def test_a_link_that_comes_while_a_run_writes_is_not_followed(folder, tmp_path):
    folder.begin(make_config())
    (tmp_path / "outside").write_text("mine")
    (folder.path / "events.jsonl").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic link"):
        folder.append_events([{"step": 0}])
    assert (tmp_path / "outside").read_text() == "mine"
