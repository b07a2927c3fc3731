"""Run folders behind a URI: here on a file system of fsspec, which writes to a folder of the test."""

import json
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from sgg_ray.artifacts import RunFolder, is_uri, local_folder, location, open_run, storage_folder
from sgg_ray.config import Config
from sgg_ray.errors import ClusterError, ConfigError


def make_config(**train) -> Config:
    return Config.model_validate(
        {
            "name": "try",
            "model": {"path": "some/model"},
            "target": {"path": "rows.csv", "shots": 4},
            "train": train,
        }
    )


@pytest.fixture
def far(tmp_path):
    """The folder behind far://."""

    class Far(DirFileSystem):
        protocol = "far"
        cachable = False

        def __init__(self, **options):
            super().__init__(path=str(tmp_path / "far"), fs=LocalFileSystem(auto_mkdir=True))

        @classmethod
        def _strip_protocol(cls, path):
            return path.removeprefix("far://")

    fsspec.register_implementation("far", Far, clobber=True)
    (tmp_path / "far").mkdir()
    return tmp_path / "far"


def test_what_is_behind_a_uri():
    assert is_uri("s3://bucket/runs")
    assert not is_uri("file:///mnt/runs")
    assert not is_uri("C:/runs")
    assert local_folder("file:///mnt/my%20runs") == Path("/mnt/my runs")
    assert location("s3://bucket/runs/?region=x", "try") == "s3://bucket/runs/try?region=x"
    assert location("runs", "try") == str(Path("runs", "try"))


def test_a_file_uri_is_a_folder(tmp_path):
    folder = RunFolder((tmp_path / "runs").as_uri(), "try")
    folder.begin(make_config())
    assert (tmp_path / "runs" / "try" / "run.json").exists()


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("memory://runs", "another memory in every process"), ("nowhere://a", "cannot be opened")],
)
def test_what_cannot_be_a_storage_is_refused(uri, reason):
    with pytest.raises(ConfigError, match=rf"^ray\.storage_path: '{uri}.*{reason}"):
        RunFolder(uri, "try")


def test_what_is_written_arrives(far):
    folder = RunFolder("far://runs", "try")
    assert folder.check(make_config()) is False
    assert list(far.iterdir()) == []  # a look writes nothing
    assert folder.begin(make_config()) is False
    there = far / "runs" / "try"
    assert json.loads((there / "run.json").read_text())["status"] == "running"
    (folder.path / "model").mkdir()
    (folder.path / "model" / "weights").write_bytes(b"123")
    (folder.path / ".half").write_text("")
    folder.append_events([{"step": 0}])
    folder.finish()
    assert (there / "model" / "weights").read_bytes() == b"123"
    assert (there / "events.jsonl").read_text() == '{"step": 0}\n'
    assert json.loads((there / "run.json").read_text())["status"] == "finished"
    assert not (there / ".half").exists()


def test_files_arrive_in_the_order_in_which_they_were_made(far, monkeypatch):
    """A kill between two of them must not leave the mark of completeness without what it marks."""
    from sgg_ray.artifacts import run_storage as storage

    folder = RunFolder("far://runs", "try")
    folder.begin(make_config())
    order, write = [], storage._write
    monkeypatch.setattr(storage, "_write", lambda *a: (order.append(a[1].rsplit("/", 1)[1]), write(*a)))
    for second, name in enumerate(("zeta", "alpha", "middle")):
        (folder.path / name).write_text("")
        os.utime(folder.path / name, (second, second))  # a clock of files may tick slower than this loop
    folder.update(mlflow_run_id="abc")
    assert order == ["zeta", "alpha", "middle", "run.json"]
    order.clear()
    folder.update(mlflow_run_id="abd")
    assert order == ["run.json"]  # nothing is written twice


def test_a_run_goes_on_from_what_is_there(far):
    RunFolder("far://runs", "try").begin(make_config(max_steps=7))
    there = far / "runs" / "try"
    (there / "events.jsonl").write_text('{"step": 0}\n{"st')
    (there / "scores.json").write_text("{}")
    (there / "ray_train").mkdir()
    (there / "ray_train" / "large").write_text("")
    again = RunFolder("far://runs", "try")
    assert again.check(make_config(max_steps=7)) is True
    assert again.begin(make_config(max_steps=7)) is True
    assert again.read_events() == [{"step": 0}]
    assert (again.path / "scores.json").read_text() == "{}"
    assert not (again.path / "ray_train").exists()  # Ray reads that by itself
    with pytest.raises(
        ConfigError, match=r"far://runs/try was begun with other settings: train\.max_steps was 7"
    ):
        RunFolder("far://runs", "try").check(make_config(max_steps=8))


def test_a_folder_of_somebody_else_is_refused(far):
    (far / "runs" / "try").mkdir(parents=True)
    (far / "runs" / "try" / "thesis.txt").write_text("")
    with pytest.raises(ConfigError, match="far://runs/try is there and is no run of sgg"):
        RunFolder("far://runs", "try").check(make_config())


def test_a_storage_that_fails_is_an_error_with_its_reason(far):
    folder = RunFolder("far://runs", "try")
    folder.begin(make_config())
    (far / "runs" / "try" / "folder").write_text("")
    with pytest.raises(ClusterError, match=r"^ray\.storage_path: cannot write to far://runs/try: "):
        folder.write_text("folder/file", "")


def test_rays_own_folders_are_read_and_deleted(far, tmp_path):
    for folder, home in (
        (RunFolder("far://runs", "try"), far / "runs"),
        (RunFolder(tmp_path / "near", "try"), tmp_path / "near"),
    ):
        state = folder.state("ray_tune")
        assert (state.name, state.parent.rsplit("/", 1)[1]) == ("ray_tune", "try")
        assert state.read("snapshot") is None
        (home / "try" / "ray_tune").mkdir(parents=True)
        (home / "try" / "ray_tune" / "snapshot").write_text("there")
        assert state.read("snapshot") == b"there"
        state.delete()
        assert not (home / "try" / "ray_tune").exists()
        state.delete()  # nobody minds


def test_a_folder_is_copied_there_and_back(far, tmp_path):
    own = tmp_path / "own"
    (own / "inner").mkdir(parents=True)
    (own / "inner" / "weights").write_bytes(b"123")
    (own / "settings").write_text("{}")
    for storage in ("far://runs", tmp_path / "near"):
        state = RunFolder(storage, "try").state("baseline_model")
        state.upload(own)
        back = tmp_path / f"back-{state.filesystem is None}"
        state.download(back)
        found = {str(file.relative_to(back)): file.read_bytes() for file in back.rglob("*") if file.is_file()}
        assert found == {"inner/weights": b"123", "settings": b"{}"}


def test_a_file_can_be_tried_anywhere(far, tmp_path):
    for place in (storage_folder("far://runs"), storage_folder(tmp_path / "not" / "yet")):
        place.write("probe", b"x")
        assert place.read("probe") == b"x"
        place.remove("probe")
        assert place.read("probe") is None


def test_a_finished_run_is_opened_by_its_uri(far):
    folder = RunFolder("far://runs", "try")
    folder.begin(make_config())
    with pytest.raises(ConfigError, match="has not finished"):
        open_run("far://runs/try")
    (folder.path / "model").mkdir()
    (folder.path / "model" / "weights").write_bytes(b"123")
    folder.finish()
    found = open_run("far://runs/try")
    assert (found.model / "weights").read_bytes() == b"123"
    assert found.config.name == "try"
    with pytest.raises(ConfigError, match=r"^RUN: there is no run folder far://runs/other"):
        open_run("far://runs/other")
