"""How a run begins: MLflow first, then the folder, and nothing of either if the other fails."""

import errno
import json

import pytest
from mlflow import MlflowClient

from sgg_ray.artifacts import RunFolder
from sgg_ray.errors import ClusterError, ConfigError
from sgg_ray.orchestration.lifecycle import begin_run, recorded, refuse_other_rows
from sgg_ray.orchestration.listener import NullListener


def begin(config, folder):
    return begin_run(config, folder, "train", "hash of the rows", NullListener())


@pytest.mark.usefixtures("database")
def test_of_two_at_once_one_is_refused_and_leaves_no_run_that_seems_to_go_on(make_config):
    config = make_config()
    first = RunFolder(config.ray.storage_path, config.name)
    tracker = begin(config, first)
    with pytest.raises(ConfigError, match="is being written by another process"):
        begin(config, RunFolder(config.ray.storage_path, config.name))

    client = MlflowClient(config.tracking.uri)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    assert experiment is not None
    running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
    assert [run.info.run_id for run in running] == [tracker.run_id]
    record = json.loads((first.path / "run.json").read_text())
    assert (record["mlflow_run_id"], record["content"]) == (tracker.run_id, "hash of the rows")


@pytest.mark.usefixtures("database")
def test_what_fails_is_marked_even_when_the_disk_takes_no_mark(make_config, monkeypatch):
    config = make_config()
    folder = RunFolder(config.ray.storage_path, config.name)
    tracker = begin(config, folder)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sgg_ray.artifacts.files.os.fsync", full)
        with pytest.raises(OSError, match="No space left") as caught, recorded(folder, tracker):
            folder.write_text("scores.json", "{}")
    assert caught.value.filename == str(folder.path / "scores.json")
    assert MlflowClient(config.tracking.uri).get_run(tracker.run_id).info.status == "FAILED"
    assert folder.check(config)


def test_a_run_that_was_stopped_before_it_knew_its_rows_goes_on(make_config):
    config = make_config()
    folder = RunFolder(config.ray.storage_path, config.name)
    folder.begin(config)
    refuse_other_rows(folder, "hash of the rows")
    folder.update(content="of other rows")
    with pytest.raises(ConfigError, match="was begun with other rows"):
        refuse_other_rows(folder, "hash of the rows")


def test_without_mlflow_there_is_no_folder(make_config, tmp_path):
    config = make_config(tracking={"uri": "nothing://here"})
    with pytest.raises(ClusterError, match=r"^tracking\.uri: cannot use MLflow"):
        begin(config, RunFolder(config.ray.storage_path, config.name))
    assert not (tmp_path / "runs").exists()
