"""Runs are listed whatever state they are in, and deleted only when all that were named can be."""

import json

import pytest

from sgg_ray.artifacts import RunFolder, list_runs, remove_runs
from sgg_ray.errors import ConfigError

METRICS = {"guided": {"accuracy": 0.75}, "difference": {"difference": 0.05}}


@pytest.fixture
def storage(make_config, tmp_path):
    """A finished run, one that was killed, one that is running, a damaged one, and folders of others."""
    folder = tmp_path / "runs"
    finished = RunFolder(folder, "finished")
    finished.begin(make_config())
    finished.update(command="train", started="2026-01-02T00:00:00+00:00")
    finished.write_json("metrics.json", METRICS)
    finished.finish()
    killed = RunFolder(folder, "killed")
    killed.begin(make_config())
    killed.update(command="score", started="2026-01-01T00:00:00+00:00")
    del killed
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("[1, 2]")
    (folder / "notes").mkdir()
    return folder


def test_every_run_has_a_line_with_what_is_known(storage, make_config):
    running = RunFolder(storage, "running")
    running.begin(make_config())
    runs = {run.name: run for run in list_runs(storage)}
    assert list(runs)[-1] == "damaged"  # it has no date
    assert {name: run.status for name, run in runs.items()} == {
        "running": "running",
        "finished": "finished",
        "killed": "stopped",
        "damaged": "damaged",
    }
    first = runs["finished"]
    assert (first.command, first.target, first.shots, first.seed) == ("train", "target", 8, 0)
    assert (first.quality, first.gain, first.seconds is not None) == (0.75, 0.05, True)
    assert (runs["killed"].quality, runs["killed"].seconds) == (None, None)
    assert "holds a list" in runs["damaged"].note
    json.dumps([run.to_dict() for run in runs.values()], allow_nan=False)


@pytest.mark.parametrize("content", ["{", "[]", '{"guided": 3}'])
def test_damaged_metrics_are_told(storage, content):
    (storage / "finished" / "metrics.json").write_text(content)
    (run,) = [run for run in list_runs(storage) if run.name == "finished"]
    assert run.quality is None
    assert run.note.startswith("metrics.json: ")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="--storage: there is no folder"):
        list_runs(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["notes", "nothing", "../runs", ".."])
def test_nothing_is_deleted_when_one_of_the_names_is_no_run(storage, name):
    with pytest.raises(ConfigError, match="is no run in"):
        remove_runs(storage, ["finished", name])
    assert (storage / "finished").is_dir()


def test_a_run_that_is_being_written_is_not_deleted(storage, make_config):
    running = RunFolder(storage, "running")
    running.begin(make_config())
    with pytest.raises(ConfigError, match="running is being written"):
        remove_runs(storage, ["running", "killed"])
    assert (storage / "killed").is_dir()
    assert remove_runs(storage, ["killed", "finished"]) == [storage / "killed", storage / "finished"]
    assert not (storage / "killed").exists()


def test_quality_is_that_of_the_model_that_was_kept(storage):
    kept = {"kept": {"model": "target-only"}, "target-only": {"accuracy": 0.8}}
    (storage / "finished" / "metrics.json").write_text(json.dumps(METRICS | kept))
    (found,) = (run for run in list_runs(storage) if run.name == "finished")
    assert (found.quality, found.gain) == (0.8, 0.05)
