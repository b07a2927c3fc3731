"""In a submitted job: what Ray has not sent is explained, and what Ray would delete is refused."""

import pytest

from sgg_ray.errors import ConfigError, DataError, ModelError
from sgg_ray.models import check_model
from sgg_ray.orchestration.lifecycle import refuse_job_folder
from sgg_ray.tasks import load_tasks

HINT = (
    "Ray does not send a job the files named in .gitignore (submit it with RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1"
)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """What Ray 2.60 makes the current directory of a job."""
    folder = tmp_path / "session_1/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_a_file_that_was_not_sent(make_config, job):
    with pytest.raises(DataError) as caught:
        load_tasks(make_config(target={"path": str(job / "notes.csv")}))
    assert caught.value.problems[0].startswith(f"target.path: {job}/notes.csv does not exist")
    assert HINT in caught.value.problems[0]


def test_a_model_that_was_not_sent(make_config, job):
    with pytest.raises(ModelError, match=r"model.path: .* does not exist") as caught:
        check_model(make_config(model={"path": str(job / "out/model")}).model, 24, 0)
    assert HINT in str(caught.value)


def test_elsewhere_nothing_is_said_of_ray(make_config, tmp_path):
    with pytest.raises(DataError) as caught:
        load_tasks(make_config(target={"path": str(tmp_path / "notes.csv")}))
    assert "Ray" not in str(caught.value)


def test_results_that_ray_would_delete_are_refused(make_config, job):
    with pytest.raises(ConfigError) as caught:
        refuse_job_folder(make_config(ray={"storage_path": "runs"}, tracking={"uri": "sqlite:///mlflow.db"}))
    first, second = caught.value.problems
    assert first.startswith("ray.storage_path: ")
    assert second.startswith("tracking.uri: ")


def test_results_elsewhere_are_not(make_config, job):
    refuse_job_folder(make_config())
    refuse_job_folder(
        make_config(ray={"storage_path": "s3://bucket/runs"}, tracking={"uri": "http://host:5000"})
    )
